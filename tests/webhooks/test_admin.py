"""The inbox in the admin: dead letters, replays, and who may replay."""

from datetime import timedelta
from http import HTTPStatus

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.webhooks.inbox_rows import row
from webhooks.models import DuplicateDelivery, InboxUpdate, PayloadAccess, Replay, State

LIST = reverse("admin:webhooks_inboxupdate_changelist")
PAGE = reverse("admin:webhooks_inboxupdate_replay_result")

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def client_with(*codenames: str) -> Client:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def pending() -> set[int]:
    return set(InboxUpdate.objects.pending().values_list("pk", flat=True))


def test_it_works(operator: Client) -> None:
    dead, gone = row(State.DEAD), row(State.DEAD, body=None)
    done = row()
    button = f"{PAGE}?state__exact=dead"
    assert button in operator.get(LIST, {"state__exact": "dead"}).content.decode()
    page = operator.get(button).content.decode()
    assert "1 update can be replayed" in page
    assert ("1 update no longer has a body" in page, "already in the queue" in page) == (True, False)
    answer = operator.post(button, {"reason": "fixed"}, follow=True)
    assert "1 update is back in the queue." in answer.content.decode()
    assert pending() == {dead.pk}
    assert done.pk not in pending()
    assert gone.pk not in pending()
    audit = Replay.objects.get()
    assert (audit.by, audit.selection, audit.reason, audit.count) == ("root", "state__exact=dead", "fixed", 1)


def test_dead_letters_are_replayed_by_error(operator: Client) -> None:
    dead = [row(State.DEAD, reason="KeyError", error="Traceback\nKeyError: 'sender'\n") for _ in range(2)]
    other = row(State.DEAD, reason="ValueError", error="ValueError: <b>x</b>")
    row(State.DONE, update_type="user_added")
    answer = operator.get(reverse("admin:webhooks_inboxupdate_dead_letters"))
    groups = answer.context["groups"]
    assert [(group["reason"], group["count"]) for group in groups] == [("KeyError", 2), ("ValueError", 1)]
    assert "KeyError: &#x27;sender&#x27;" in answer.content.decode()
    assert "<b>x</b>" not in answer.content.decode()
    shown = operator.get(groups[0]["list_url"])
    assert {update.pk for update in shown.context["cl"].result_list} == {update.pk for update in dead}
    assert "2 updates can be replayed" in operator.get(groups[0]["replay_url"]).content.decode()
    operator.post(groups[0]["replay_url"], {"reason": "fixed"})
    assert pending() == {update.pk for update in dead}
    assert other.pk not in pending()


def test_selected_updates_are_replayed(operator: Client) -> None:
    rows = [row() for _ in range(3)]
    chosen = {"action": "replay_selected", "_selected_action": [rows[0].pk, rows[2].pk]}
    asking = operator.post(LIST, chosen)
    assert asking.status_code == HTTPStatus.FOUND
    assert not pending()
    operator.post(asking["Location"], {"reason": "why not"})
    assert pending() == {rows[0].pk, rows[2].pk}


def test_all_pages_of_a_result_are_replayed(operator: Client) -> None:
    rows = [row(State.SKIPPED) for _ in range(130)]
    row(State.DONE)
    chosen = {"action": "replay_selected", "_selected_action": [rows[0].pk], "select_across": "1"}
    asking = operator.post(f"{LIST}?state__exact=skipped", chosen)
    operator.post(asking["Location"], {"reason": "phase 2 is on"})
    assert pending() == {update.pk for update in rows}


def test_updates_are_filtered_by_time(operator: Client) -> None:
    old, new = row(age=timedelta(days=2)), row()
    day = timezone.localdate(old.received_at)
    query = f"received_at_from_0={day}&received_at_from_1=00:00:00&received_at_to_0={day}&received_at_to_1=23:59:59"
    operator.post(f"{PAGE}?{query}", {"reason": "outage"})
    assert pending() == {old.pk}
    assert new.pk not in pending()


@pytest.mark.parametrize(("date", "matches"), [("01.12.2026", 1), ("2026-12-01", 1), ("yesterday", 0), ("", 0)])
def test_dates_are_localized_and_invalid_ones_match_nothing(
    client: Client, superadmin: User, date: str, matches: int
) -> None:
    client.force_login(superadmin)
    client.cookies["django_language"] = "ru"
    row(received_at="2026-12-01T10:00:00Z")
    row(received_at="2026-11-01T10:00:00Z")
    query = {"received_at_from_0": date, "received_at_from_1": "" if date else "10:00"}
    assert client.get(LIST, query).context["cl"].queryset.count() == matches


def test_it_refuses_without_a_reason(operator: Client) -> None:
    row(State.DEAD)
    answer = operator.post(f"{PAGE}?state__exact=dead", {"reason": " "})
    assert answer.status_code == HTTPStatus.OK
    assert not pending()


@pytest.mark.parametrize("query", ["", "?o=1", "?state__exact=", "?id__in=x", "?nonsense=1"])
def test_it_refuses_without_a_filter(operator: Client, query: str) -> None:
    row(State.DEAD)
    assert operator.post(PAGE + query, {"reason": "all"}).status_code == HTTPStatus.FOUND
    assert not pending()


def test_a_reader_may_not_replay() -> None:
    update = row(State.DEAD)
    reader = client_with("view_inboxupdate")
    assert PAGE not in reader.get(LIST).content.decode()
    assert reader.post(f"{PAGE}?state__exact=dead", {"reason": "x"}).status_code == HTTPStatus.FORBIDDEN
    reader.post(LIST, {"action": "replay_selected", "_selected_action": [update.pk]})
    assert not pending()


def test_the_permission_to_replay_suffices() -> None:
    update = row(State.DEAD)
    client_with("view_inboxupdate", "add_replay").post(f"{PAGE}?state__exact=dead", {"reason": "x"})
    assert pending() == {update.pk}


def test_one_update_is_replayed_from_its_page(operator: Client) -> None:
    dead = row(State.DEAD)
    row(State.DEAD)
    page = operator.get(reverse("admin:webhooks_inboxupdate_replay_one", args=[dead.pk]), follow=True)
    assert "1 update can be replayed" in page.content.decode()
    operator.post(page.redirect_chain[-1][0], {"reason": "once more"})
    assert pending() == {dead.pk}


def test_the_list_is_searched_by_person_and_number(operator: Client) -> None:
    mine, other = row(user_id="77"), row(user_id="78")
    results = {q: {u.pk for u in operator.get(LIST, {"q": q}).context["cl"].result_list} for q in ("77", str(other.pk))}
    assert results == {"77": {mine.pk}, str(other.pk): {other.pk}}
    assert operator.get(LIST, {"q": "9" * 30}).status_code == HTTPStatus.OK


@pytest.mark.parametrize("model", [InboxUpdate, DuplicateDelivery, Replay, PayloadAccess])
def test_nothing_is_edited_by_hand(operator: Client, model: type[Model]) -> None:
    row()
    DuplicateDelivery.objects.create(dedup_key=b"1", update_type="other", received_at=timezone.now())
    Replay.objects.create(by="root", selection="all", reason="x", count=1)
    PayloadAccess.objects.create(by="root", inbox_update_id=1, update_type="other", reason="x")
    before = list(model._default_manager.values())
    (pk,) = model._default_manager.values_list("pk", flat=True)
    for name, args in (("add", []), ("change", [pk]), ("delete", [pk])):
        url = reverse(f"admin:webhooks_{model._meta.model_name}_{name}", args=args)
        assert operator.post(url, {"reason": "y", "post": "yes"}).status_code == HTTPStatus.FORBIDDEN
    assert list(model._default_manager.values()) == before


def test_an_empty_inbox_does_not_offer_to_add_an_update(operator: Client) -> None:
    assert "Add an entry" not in operator.get(LIST).content.decode()
    assert "No rows match the filters." in operator.get(LIST, {"state__exact": "dead"}).content.decode()
    assert "Add an entry" in operator.get("/admin/employees/university/").content.decode()
