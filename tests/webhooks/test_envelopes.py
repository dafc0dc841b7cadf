"""Envelopes of updates, as in long polling: good items are processed, each bad one is a quarantined row of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.models import Profile
from tests.fuzz.updates import VALUES, mutated
from tests.webhooks.sending import send
from webhooks import payloads
from webhooks.models import InboxUpdate, Replay, State
from webhooks.processing import process_inbox
from webhooks.receiver import arrivals_in

CASE = Path(__file__).parents[1] / "cases" / "envelope-one-bad.json"


def started(number: int) -> dict[str, Any]:
    user = {"user_id": number, "first_name": "Анна\0"}
    return {"update_type": "bot_started", "timestamp": 1_795_920_000_000, "chat_id": number, "user": user}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("cache_first")
def test_it_works() -> None:
    assert send(CASE.read_bytes()).status == 200
    process_inbox()
    assert sorted(Profile.objects.values_list("user_id", flat=True)) == ["895005", "895006"]
    bad = InboxUpdate.objects.get(state=State.QUARANTINED)
    assert (bytes(bad.body or b""), bad.reason) == (b'"oops"', "the body is not a JSON object")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("cache_first")
def test_equal_bad_items_are_rows_and_a_repeated_envelope_is_none() -> None:
    for _ in range(2):
        send({"updates": [None, started(1), None, {"updates": [started(2)]}, []]})
    assert InboxUpdate.objects.filter(state=State.QUARANTINED).count() == 4
    assert InboxUpdate.objects.count() == 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("cache_first")
def test_a_bad_item_can_be_replayed() -> None:
    send({"updates": [5, started(1)]})
    process_inbox()
    InboxUpdate.objects.filter(state=State.QUARANTINED).replay(by="me", reason="test", selection="all")
    process_inbox()
    assert InboxUpdate.objects.get(state=State.QUARANTINED).reason == "the body is not a JSON object"
    assert Replay.objects.get().count == 1


GOOD = st.integers(1, 2**63 - 1).map(started)
BAD: st.SearchStrategy[Any] = VALUES.filter(lambda value: not isinstance(value, dict)) | st.just({"updates": []})


@settings(deadline=None)
@given(st.lists(GOOD.map(lambda item: (True, item)) | BAD.map(lambda item: (False, item)), min_size=1, max_size=100))
def test_any_mix_keeps_the_good_items(items: list[tuple[bool, Any]]) -> None:
    body = json.dumps({"updates": [item for _, item in items], "marker": 1}).encode()
    arrivals = arrivals_in(body, timezone.now())
    assert [not arrival.reason for arrival in arrivals] == [is_good for is_good, _ in items]
    bad = [arrival.dedup_key for arrival in arrivals if arrival.reason]
    assert len(set(bad)) == len(bad)
    for arrival, (is_good, item) in zip(arrivals, items, strict=True):
        if is_good:
            update = payloads.parse_stored(arrival.body)
            assert update == item
            reading = payloads.read(update, arrival.received_at)
            assert reading.user_id == str(item["user"]["user_id"])
            assert reading.profile_update is not None
        else:
            with pytest.raises(payloads.MalformedUpdate):
                payloads.parse_stored(arrival.body)


@settings(deadline=None)
@given(st.lists(mutated(), max_size=5))
def test_hostile_items_do_not_affect_a_good_one(hostile: list[Any]) -> None:
    body = json.dumps({"updates": [*hostile, started(7), *hostile]}).encode()
    arrivals = arrivals_in(body, timezone.now())
    good = arrivals[len(hostile)]
    assert (len(arrivals), good.reason, json.loads(good.body)) == (2 * len(hostile) + 1, "", started(7))


@pytest.mark.parametrize("depth", [100, 500, 800])
def test_a_deeply_nested_item_is_kept_whole(depth: int) -> None:
    item = b'{"x": ' + b"[" * depth + b"]" * depth + b"}"
    arrivals = arrivals_in(b'{"updates": [%b, {"update_type": "bot_started"}]}' % item, timezone.now())
    assert [arrival.update_type for arrival in arrivals] == ["other", "bot_started"]


def items(*parts: bytes, ending: bytes = b"]}") -> list[tuple[str, str]]:
    """Return the sender and the reason of each row of an envelope with these items."""
    arrivals = arrivals_in(b'{"marker": 1, "updates": [' + b",".join(parts) + ending, timezone.now())
    return [
        ("" if arrival.reason else payloads.read(json.loads(arrival.body), timezone.now()).user_id, arrival.reason)
        for arrival in arrivals
    ]


def good(number: int) -> bytes:
    return json.dumps(started(number)).encode()


AN_ENVELOPE = "the body is a batch of updates instead of one update"
NOT_JSON = "the body is not JSON"
BROKEN: dict[str, tuple[bytes, str]] = {
    "no value": (b'{"x": }', NOT_JSON),
    "a word": (b"oops", NOT_JSON),
    "NaN": (b'{"x": NaN}', NOT_JSON),
    "a comma too many": (b'{"x": [1,],}', NOT_JSON),
    "a line break in a text": (b'{"x": "\n"}', NOT_JSON),
    "an unknown escape": (rb'{"x": "\q", "y": "],[}"}', NOT_JSON),
    "another encoding": ('{"x": "Анна"}'.encode("cp1251"), "the body is not UTF-8"),
    "depth": (b'{"x": ' + b"[" * 9_000 + b"]" * 9_000 + b"}", "the body is nested too deeply"),
    "objects": (b'{"x":' * 9_000 + b"1" + b"}" * 9_000, "the body is nested too deeply"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_item_that_is_not_json_does_not_affect_the_others(kind: str) -> None:
    item, reason = BROKEN[kind]
    assert items(good(1), item, good(2), item) == [("1", ""), ("", reason), ("2", ""), ("", reason)]


@settings(deadline=None)
@given(VALUES, st.sampled_from(["marker", "other updates", '"updates":[']))
def test_any_value_may_stand_before_the_list(value: Any, key: str) -> None:
    frame = json.dumps({key: value, "x": {"updates": [{"a": 1}]}}).encode()[:-1]
    body = frame + b', "updates" : [' + b",".join((good(1), b"{oops}", good(2))) + b"]}"
    assert [arrival.reason for arrival in arrivals_in(body, timezone.now())] == ["", NOT_JSON, ""]


def test_a_comma_after_the_last_item_is_no_item() -> None:
    numbers = range(1, payloads.LARGEST_ENVELOPE + 1)
    assert items(*map(good, numbers), b"") == [(str(number), "") for number in numbers]


@pytest.mark.parametrize("depth", range(970, 1_000, 3))
def test_every_depth_is_kept_or_quarantined(depth: int) -> None:
    rows = items(good(1), b'{"x": ' + b"[" * depth + b"]" * depth + b"}", good(2))
    assert (len(rows), rows[0], rows[2]) == (3, ("1", ""), ("2", ""))


@pytest.mark.parametrize("rest", [b'{"x": "', b'{"x": [}', b"}", b'{"x": {"y": 1', b']"'])
def test_after_broken_brackets_nothing_is_read_as_an_update(rest: bytes) -> None:
    """The text of a message may look like an update: ``{"text": "},{...},{"}`` with a quotation mark missing."""
    assert items(good(1), rest + b"," + good(2)) == [("1", ""), ("", NOT_JSON)]
    body = b'{"updates": [' + good(1) + b"," + rest + b"," + good(2) + b"]}"
    assert b"".join(arrival.body for arrival in arrivals_in(body, timezone.now())).endswith(good(2) + b"]}")


def test_what_follows_the_items_is_kept() -> None:
    assert items(good(1), ending=b'], "marker": oops}') == [("1", ""), ("", NOT_JSON)]
    assert items(good(1), b"oops", ending=b'], "marker": 2}') == [("1", ""), ("", NOT_JSON)]
    assert items(good(1), good(2), ending=b"") == [("1", ""), ("2", "")]


@pytest.mark.parametrize(
    "body",
    [
        b'{"updates": [oops], "updates": [1]}',
        b'{"update_type": "x", "updates": [oops]}',
        b'{"updates": [oops], "update_type": "x"}',
        b'{"updates": [' + b"oops," * 101 + b"1]}",
        b'{"update_type": "x", "text": {"updates": [oops]}}',
        b'[{"updates": [oops]}]',
    ],
)
def test_what_is_no_envelope_is_one_row(body: bytes) -> None:
    (arrival,) = arrivals_in(body, timezone.now())
    assert (arrival.body, bool(arrival.reason)) == (body, True)


LISTS = st.lists(st.integers(1, 9).map(good), max_size=3).map(lambda parts: b"[" + b",".join(parts) + b"]")
KEYS = st.sampled_from([b'"updates"', rb'"upd\u0061tes"', b' "updates" '])


@settings(deadline=None)
@given(st.lists(st.tuples(KEYS, LISTS | st.just(b"null")), min_size=2, max_size=3))
def test_an_envelope_with_two_lists_is_kept_whole(lists: list[tuple[bytes, bytes]]) -> None:
    """A decoder keeps only the last value of a repeated key."""
    body = b'{"marker": 1, ' + b",".join(key + b":" + value for key, value in lists) + b"}"
    (arrival,) = arrivals_in(body, timezone.now())
    assert (arrival.body, arrival.reason) == (body, "“updates” is repeated")
    with pytest.raises(payloads.MalformedUpdate, match="repeated"):
        payloads.parse_stored(body)
    assert [reason for _, reason in items(good(1), body, good(2))] == ["", AN_ENVELOPE, ""]


@settings(deadline=None)
@given(st.lists(st.sampled_from([*BROKEN.values(), (good(1), ""), (good(2), "")]), min_size=1, max_size=20))
def test_any_mix_of_broken_items_keeps_the_good_ones(chosen: list[tuple[bytes, str]]) -> None:
    assert [reason for _, reason in items(*(item for item, _ in chosen))] == [reason for _, reason in chosen]


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(0, 200))
def test_no_byte_is_lost_and_nothing_fails(noise: bytes, place: int) -> None:
    body = b'{"updates": [' + good(1) + b"," + good(2) + b"]}"
    changed = body[:place] + noise + body[place:]
    assert arrivals_in(changed, timezone.now()) or json.loads(changed) is not None
