"""Hostile input gets the documented answers, leaves no dead letter, and yields only values that can be stored.

``make fuzz`` tries a hundred thousand examples of each kind, the suite fifty.
"""

import json
import os
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles import names, phones
from profiles.models import Profile
from tests.fuzz.updates import VALUES, bodies, mutated
from tests.webhooks.sending import send
from webhooks import payloads
from webhooks.models import InboxUpdate, State
from webhooks.payloads import contacts
from webhooks.payloads.bot_commands import name_given_in
from webhooks.processing import process_inbox
from webhooks.receiver import arrivals_in

IS_FULL = os.environ.get("FUZZ") == "full"
# Hypothesis remembers the examples of a run, which makes each slower than the one before, and takes gigabytes.
RUN, RUNS = 2_000, 50
COMMANDS = ["", "/имя ", "/setname", "меня зовут ", "МОЁ ИМЯ: "]
_SLOW_DRAWS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def examples(few: int, many: int) -> settings:
    return settings(
        max_examples=many if IS_FULL else few, deadline=None, suppress_health_check=_SLOW_DRAWS, derandomize=not IS_FULL
    )


@pytest.fixture(params=range(RUNS if IS_FULL else 1))
def run(request: pytest.FixtureRequest) -> int:
    return int(request.param)


in_runs = pytest.mark.usefixtures("run")


def can_be_stored(text: str | None) -> bool:
    return text is None or ("\0" not in text and bool(text.encode()) == bool(text) and len(text) <= 70_000)


@in_runs
@examples(50, RUN)
@given(bodies())
def test_it_makes_rows_of_every_body(body: bytes) -> None:
    arrivals = arrivals_in(body, timezone.now())
    assert len(arrivals) <= payloads.LARGEST_ENVELOPE
    for arrival in arrivals:
        assert arrival.dedup_key
        assert can_be_stored(arrival.update_type)
        assert can_be_stored(arrival.reason)


@in_runs
@examples(50, RUN)
@given(mutated())
def test_it_reads_every_update_or_calls_it_malformed(update: Any) -> None:
    if not isinstance(update, dict):
        return
    try:
        reading = payloads.read(update, timezone.now())
    except payloads.MalformedUpdate:
        return
    if reading.profile_update:
        json.dumps(repr(reading)).encode()
        assert len(reading.profile_update.user_id) <= 64


@in_runs
@examples(50, RUN)
@given(
    st.sampled_from(COMMANDS),
    st.text(st.characters(codec=None), max_size=150),
)
def test_it_takes_a_valid_name_or_none_from_a_command(command: str, text: str) -> None:
    name = name_given_in(command + text)
    if name is not None:
        assert 1 <= len(name) <= 100
        assert names.user_provided(name) == name
        assert name.encode()


@in_runs
@examples(50, RUN)
@given(st.dictionaries(st.sampled_from(["vcf_info", "hash", "max_info", "x"]), VALUES, max_size=4))
def test_it_links_no_phone_without_a_signature(payload: dict[str, Any]) -> None:
    assert contacts.own_phone(payload, "7") is None


@in_runs
@examples(50, RUN)
@given(st.one_of(st.text(max_size=30), st.from_regex(r"\+?[78]?[\d ()\-]{5,20}")))
def test_it_normalizes_a_phone_or_refuses_it(spelling: str) -> None:
    try:
        phone = phones.normalize(spelling)
    except ValueError:
        return
    assert phones.normalize(phone) == phone


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("cache_first")
def test_it_processes_everything_it_accepts() -> None:
    @examples(10, 3_000)
    @given(st.lists(bodies(), min_size=1, max_size=8))
    def send_and_process(batch: list[bytes]) -> None:
        for body in batch:
            assert send(body).status in (200, 413)
        process_inbox()
        assert not InboxUpdate.objects.filter(state__in=(State.PENDING, State.DEAD)).exists()
        assert not InboxUpdate.objects.filter(tries__gt=0).exists()

    send_and_process()
    for profile in Profile.objects.all():
        assert can_be_stored(profile.first_name)
