"""The list of the inbox: a histogram by state, times with seconds, and a search of bodies for who may see them."""

import re
from datetime import timedelta
from html import unescape
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.waiting import PATIENCE, await_cancellations, pass_deadline, within
from tests.webhooks.inbox_rows import row, rows
from tests.webhooks.test_admin import client_with, pending
from webhooks import body_search
from webhooks.models import InboxUpdate, Replay, State
from webhooks.processing import record_failure

pytestmark = pytest.mark.django_db
LIST = reverse("admin:webhooks_inboxupdate_changelist")


@pytest.fixture
def operator(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def shown(client: Client, **query: str) -> set[int]:
    return {update.pk for update in client.get(LIST, query).context["cl"].result_list}


def bars(client: Client, **query: str) -> dict[str, int]:
    chart = client.get(LIST, query).context["histogram"]
    return {line["label"]: sum(line["data"]) for line in chart["series"]}


def test_it_works(operator: Client) -> None:
    at = timezone.now() - timedelta(minutes=3)
    row(received_at=at, finished_at=at + timedelta(seconds=1.5), request_id="req-7")
    page = operator.get(LIST).content.decode()
    assert f"{at:%H:%M:%S} UTC" in page
    assert "1.50\u00a0s" in page
    assert "req-7" in page


def test_the_histogram_counts_each_state(operator: Client) -> None:
    rows(3, State.DONE)
    rows(2, State.DEAD)
    row(State.PENDING)
    row(State.DONE, timedelta(days=3))
    counted = {"pending": 1, "done": 3, "dead letter": 2}
    nothing = {"skipped: collection was off": 0, "quarantined: not an update": 0}
    assert bars(operator) == counted | nothing
    assert bars(operator, state__exact="dead") == counted | nothing, "only the filter by time applies"
    since = timezone.now() - timedelta(days=4)
    until = since + timedelta(days=2)
    window = {"received_at_from_0": f"{since:%Y-%m-%d}", "received_at_to_0": f"{until:%Y-%m-%d}"}
    assert bars(operator, **window)["done"] == 1
    assert bars(operator, received_at_from_0="yesterday") == counted | nothing


def test_a_dead_letter_has_the_person(operator: Client) -> None:
    update = row(State.PENDING, tries=5)
    update.user_id = "77"
    record_failure(update, ValueError("x"))
    update.refresh_from_db()
    assert (update.state, update.user_id) == (State.DEAD, "77")
    assert shown(operator, q="77") == {update.pk}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"name": "Петрова"}', "петрова"),
        ('{"name": "Петрова"}', "Петров"),
        (r'{"name": "\u041f\u0435\u0442\u0440\u043e\u0432\u0430"}', "Петрова"),
        ('{"name": "ПЕТРОВА"}', "петрова"),
        ('{"quote": "a\\"b"}', 'a"b'),
        ('{"percent": "100%_\\\\"}', "100%_\\"),
    ],
)
def test_bodies_are_searched(operator: Client, body: str, text: str) -> None:
    found = row(body=body.encode())
    row()
    row(body=None)
    assert shown(operator, body_text=text) == {found.pk}
    assert shown(operator, body_text=text, state__exact="dead") == set()


def test_bytes_that_are_no_text_do_not_matter(operator: Client) -> None:
    row(body=b"\xff\xfe\x00")
    assert shown(operator, body_text="x") == set()
    assert shown(operator, body_text=" ") == set(InboxUpdate.objects.values_list("pk", flat=True))


def test_each_search_is_recorded_without_the_text(operator: Client) -> None:
    operator.get(LIST, {"body_text": "Петрова"})
    operator.get(LIST)
    entry = LogEntry.objects.get()
    assert "Петрова" not in entry.change_message + entry.object_repr
    assert "Searched the bodies of updates" in operator.get("/admin/audit/").content.decode()


def test_the_search_needs_the_permission_to_see_bodies() -> None:
    row()
    reader = client_with("view_inboxupdate")
    assert 'name="body_text"' not in reader.get(LIST).content.decode()
    for lookup in ("body_text", "body", "body__contains", "dedup_key__startswith", "before_replay__icontains"):
        assert reader.get(LIST, {lookup: "bot"}).status_code == HTTPStatus.BAD_REQUEST, lookup
    assert not LogEntry.objects.exists()
    User.objects.get(username="reader").user_permissions.add(Permission.objects.get(codename="view_raw_body"))
    assert 'name="body_text"' in reader.get(LIST).content.decode()


@pytest.mark.django_db(transaction=True)
def test_it_stops_in_time_and_says_so(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(5)
    await_cancellations(monkeypatch)
    monkeypatch.setattr(body_search, "SECONDS", PATIENCE)
    slow = "(SELECT count(pg_sleep(60)) FROM unnest(%s::bytea[]) AS word) > 0"
    monkeypatch.setattr(body_search, "_CONTAINS", slow)

    def pass_at_the_slow_one(execute: Any, sql: str, *arguments: Any) -> Any:
        if "pg_sleep" in sql:
            pass_deadline(0.3)
        return execute(sql, *arguments)

    with within(30), connection.execute_wrapper(pass_at_the_slow_one):
        page = operator.get(LIST, {"body_text": "bot"})
    assert "The search was stopped after 60 s." in page.content.decode()
    assert "Narrow the list down by time, state or type." in page.content.decode()
    assert list(page.context["cl"].result_list) == []
    assert InboxUpdate.objects.count() == 5, "the connection still works"


def test_it_shows_the_newest_matches(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rows(7)
    monkeypatch.setattr(body_search, "MOST_FOUND", 3)
    page = operator.get(LIST, {"body_text": "bot_started"})
    assert {update.pk for update in page.context["cl"].result_list} == {update.pk for update in made[-3:]}
    assert "These are the newest 3 matches." in page.content.decode()


@pytest.mark.long
def test_older_chunks_are_searched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rows(9)
    monkeypatch.setattr(body_search, "_CHUNK", 2)
    assert body_search.search(InboxUpdate.objects.all(), "bot_started").ids == [update.pk for update in reversed(made)]


def test_a_replay_does_not_record_the_text(operator: Client) -> None:
    found = row(State.DEAD, body=b'{"name": "\xd0\x90\xd0\xbd\xd0\xbd\xd0\xb0"}')
    row(State.DEAD)
    url = reverse("admin:webhooks_inboxupdate_replay_result")
    page = unescape(operator.get(f"{url}?body_text=Анна&state__exact=dead").content.decode())
    assert re.search(
        "text in the update's body: …; state: dead letter|state: dead letter; text in the update's body: …", page
    )
    operator.post(f"{url}?body_text=Анна&state__exact=dead", {"reason": "fixed"})
    assert pending() == {found.pk}
    assert "Анна" not in Replay.objects.get().selection
