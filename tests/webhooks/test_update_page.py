"""The page of an update, and its body: only with the permission, for a reason, and recorded."""

import json
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import translation

from tests.webhooks.inbox_rows import row
from webhooks.admin.inbox import timeline_of
from webhooks.models import InboxUpdate, PayloadAccess, Replay, State
from webhooks.processing import interpret

pytestmark = pytest.mark.django_db
SCRIPT = "<script>alert(1)</script>"
BODY = json.dumps({"update_type": "bot_started", "user": {"user_id": 7, "first_name": SCRIPT}}).encode()


def page_of(update: InboxUpdate) -> str:
    return reverse("admin:webhooks_inboxupdate_change", args=[update.pk])


def body_of(update: InboxUpdate) -> str:
    return reverse("admin:webhooks_inboxupdate_raw_body", args=[update.pk])


def client_with(*codenames: str) -> Client:
    user = User.objects.create_user("-".join(codenames), is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    client.cookies["django_language"] = "en"
    return client


def test_it_works() -> None:
    update = row(State.DEAD, body=BODY, tries=6, reason="KeyError", error="Trace of it\nKeyError: 'x'\n", user_id="7")
    page = client_with("view_inboxupdate").get(page_of(update)).content.decode()
    for text in ("Received", "6 failed attempts", "KeyError: &#x27;x&#x27;", "Trace of it", "dead letter"):
        assert text in page, text
    assert "alert(1)" not in page
    assert "No effect" not in page, "it was not even read"


def test_a_replay_is_in_the_timeline() -> None:
    update = row(State.DEAD, body=BODY, tries=6, reason="KeyError")
    InboxUpdate.objects.filter(pk=update.pk).replay(by="anna", reason="fixed", selection="id__in=1")
    update.refresh_from_db()
    received, replayed, *_ = timeline_of(update)
    assert (replayed.title, replayed.text) == ("Replayed", "anna: fixed")
    assert received.at
    assert replayed.at
    assert replayed.at > received.at
    assert [event.title for event in timeline_of(row(State.PENDING))] == ["Received", "Next attempt"]


def test_the_person_is_linked_whatever_their_id() -> None:
    page = client_with("view_inboxupdate", "view_profile").get(page_of(row(user_id="u_2Fx"))).content.decode()
    assert f'href="{reverse("admin:profiles_profile_change", args=[quote("u_2Fx")])}"' in page


def test_the_processing_time_has_a_local_decimal_mark() -> None:
    update = row(State.DONE, processing_ms=1.44)
    texts = {}
    for language in ("en", "ru"):
        with translation.override(language):
            texts[language] = next(event.text for event in timeline_of(update) if "1" in event.text)
    assert texts == {"en": "took 1.4 ms", "ru": "заняло 1,4 мс"}


def test_the_reason_is_stored_in_english_and_translated() -> None:
    body = b'{"update_type": "bot_started", "user": {"user_id": 0}}'
    deep, strange = row(State.QUARANTINED, reason="the body is nested too deeply"), row(State.PENDING, body=body)
    with translation.override("ru"):
        assert timeline_of(deep)[1].text == "слишком глубокая вложенность JSON в теле события"
        interpret(strange)
    assert strange.reason == "invalid MAX user ID"


@pytest.mark.parametrize(
    ("fields", "titles"),
    [
        ({"state": State.PENDING, "tries": 1}, ["Received", "1 failed attempt", "Next attempt"]),
        ({"has_names": True, "has_changed_profile": True}, ["Received", "done", "Profile changed"]),
        ({}, ["Received", "done", "No effect"]),
        ({"has_names": True}, ["Received", "done", "Profile unchanged"]),
        ({"state": State.SKIPPED}, ["Received", "skipped: collection was off"]),
        ({"state": State.QUARANTINED, "reason": "no JSON"}, ["Received", "quarantined: not an update"]),
    ],
)
def test_the_timeline_is_in_order(fields: dict[str, Any], titles: list[str]) -> None:
    with translation.override("en"):
        assert [event.title for event in timeline_of(row(**fields))] == titles


def test_the_body_is_shown_for_a_reason_and_recorded() -> None:
    update = row(State.DEAD, body=BODY)
    officer = client_with("view_inboxupdate", "view_raw_body")
    assert "alert(1)" not in officer.get(body_of(update)).content.decode()
    assert not PayloadAccess.objects.exists()
    shown = officer.post(body_of(update), {"reason": "complaint 12"}).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert SCRIPT not in shown
    access = PayloadAccess.objects.get()
    assert (access.by, access.inbox_update_id, access.reason) == (
        "view_inboxupdate-view_raw_body",
        update.pk,
        "complaint 12",
    )
    assert "complaint 12" in officer.get(page_of(update)).content.decode()


def test_it_refuses_without_a_reason() -> None:
    update = row(State.DEAD, body=BODY)
    answer = client_with("view_inboxupdate", "view_raw_body").post(body_of(update), {"reason": " "})
    assert "alert(1)" not in answer.content.decode()
    assert not PayloadAccess.objects.exists()


@pytest.mark.parametrize("codenames", [("view_inboxupdate",), ("view_inboxupdate", "add_replay"), ("view_raw_body",)])
def test_it_refuses_without_the_permission(codenames: tuple[str, ...]) -> None:
    update = row(State.DEAD, body=BODY)
    client = client_with(*codenames)
    assert client.post(body_of(update), {"reason": "curious"}).status_code == HTTPStatus.FORBIDDEN
    assert not PayloadAccess.objects.exists()


@pytest.mark.parametrize(
    ("body", "text"), [(None, "deleted"), (b"\xff{", "\ufffd{"), (b"[1", "[1"), (b'{"a": "\\ud800"}', "\\ud800")]
)
def test_any_body_can_be_shown(body: bytes | None, text: str) -> None:
    update = row(State.QUARANTINED, body=body)
    officer = client_with("view_inboxupdate", "view_raw_body")
    assert text in officer.post(body_of(update), {"reason": "x"}).content.decode()


def test_accesses_and_replays_are_append_only() -> None:
    access = PayloadAccess.objects.create(by="a", inbox_update_id=1, update_type="other", reason="x")
    replay = Replay.objects.create(by="a", selection="all", reason="x", count=1)
    for record in (access, replay):
        with pytest.raises(IntegrityError, match="never edited"), transaction.atomic():
            record.delete()
        record.by = "b"
        with pytest.raises(IntegrityError, match="never edited"), transaction.atomic():
            record.save()
