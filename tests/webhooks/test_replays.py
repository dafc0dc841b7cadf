"""A replay shows its selection in words, an estimate and its progress, and what it has left can be cancelled."""

from datetime import timedelta
from http import HTTPStatus

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import translation

from monitoring.stats import rollups
from tests.webhooks.inbox_rows import row, rows
from tests.webhooks.test_admin import client_with, pending
from webhooks.models import InboxUpdate, Replay, ReplayRefused, State
from webhooks.selections import in_words

pytestmark = pytest.mark.django_db
FIELDS = ("pk", "state", "reason", "tries", "next_try_at", "finished_at", "error")


@pytest.fixture
def operator(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def stored() -> list[tuple[object, ...]]:
    return list(InboxUpdate.objects.order_by("pk").values_list(*FIELDS))


def replayed(**selection: object) -> Replay:
    return InboxUpdate.objects.filter(**selection).replay(by="anna", reason="fixed", selection="state__exact=dead")


def test_it_works(operator: Client) -> None:
    rows(4, State.DEAD, reason="KeyError", error="Traceback", tries=6)
    rows(10, State.DONE, processing_ms=30_000.0)
    before = stored()
    url = reverse("admin:webhooks_inboxupdate_replay_result") + "?state__exact=dead"
    page = operator.get(url).content.decode()
    assert "state: dead letter" in page
    assert "one inbox worker needs about 2\u00a0min" in page
    answer = operator.post(url, {"reason": "fixed"}, follow=True)
    replay = Replay.objects.get()
    assert answer.redirect_chain[-1][0] == reverse("admin:webhooks_replay_change", args=[replay.pk])
    assert (replay.count, replay.waiting) == (4, 4)
    # One is processed, as a worker would have it.
    done = InboxUpdate.objects.pending().order_by("pk")[0]
    done.state, done.user_id, done.processing_ms = State.DONE, "7", 1.0
    InboxUpdate.objects.finish([done])
    progress = operator.get(reverse("admin:webhooks_replay_progress", args=[replay.pk]))
    assert (progress.context["processed"], progress.context["waiting"], progress.context["percent"]) == (1, 3, 25)
    cancel = reverse("admin:webhooks_replay_cancel", args=[replay.pk])
    assert f'href="{cancel}"' in progress.content.decode()
    answer = operator.post(cancel, {"reason": "too early"}, follow=True)
    assert "3 updates have returned to their previous state." in answer.content.decode()
    assert [one for one in stored() if one[0] != done.pk] == [one for one in before if one[0] != done.pk]
    assert (answer.context["processed"], answer.context["cancelled"], answer.context["percent"]) == (1, 3, 100)
    record = Replay.objects.get(cancels=replay)
    assert (record.by, record.reason, record.count) == ("root", "too early", 3)
    audit = operator.get("/admin/audit/").content.decode()
    assert "Cancelled replay of updates: 3, selection: state: dead letter" in audit


def test_rollups_count_a_cancelled_replay_as_if_it_never_was() -> None:
    rows(3, State.DEAD, timedelta(minutes=5), reason="KeyError")
    rollups.roll_up()
    replay = replayed(state=State.DEAD)
    replay.cancel(by="anna", reason="oops")
    at = InboxUpdate.objects.latest("pk").received_at
    counts = rollups.counts(at - timedelta(minutes=2), at + timedelta(minutes=2))
    assert (counts.states["dead"], counts.states["pending"], counts.reasons["KeyError"]) == (3, 0, 3)


def test_what_was_tried_or_finished_is_not_cancelled() -> None:
    failed, _waiting = rows(2, State.DEAD)
    replay = replayed(state=State.DEAD)
    InboxUpdate.objects.filter(pk=failed.pk).update(tries=1)
    assert replay.cancel(by="anna", reason="oops").count == 1
    assert pending() == {failed.pk}
    with pytest.raises(ReplayRefused):
        replay.cancel(by="anna", reason="again")


def test_a_later_replay_is_not_cancelled_with_an_earlier_one() -> None:
    first, second = rows(2, State.DEAD)
    earlier, later = replayed(pk=first.pk), replayed(pk=second.pk)
    earlier.cancel(by="anna", reason="oops")
    assert pending() == {second.pk}
    assert later.waiting == 1


def test_a_replay_of_the_previous_release_has_no_progress(operator: Client) -> None:
    replay = Replay.objects.create(by="a", selection="all", reason="r", count=3)
    page = operator.get(reverse("admin:webhooks_replay_change", args=[replay.pk]))
    assert page.status_code == HTTPStatus.OK
    assert "replay-progress" not in page.content.decode()
    with pytest.raises(ReplayRefused):
        replay.cancel(by="a", reason="r")


def test_it_refuses_readers() -> None:
    row(State.DEAD)
    replay = replayed(state=State.DEAD)
    cancel = reverse("admin:webhooks_replay_cancel", args=[replay.pk])
    progress = reverse("admin:webhooks_replay_progress", args=[replay.pk])
    reader = client_with("view_replay")
    assert "cancel" not in reader.get(progress).content.decode().lower()
    assert reader.post(cancel, {"reason": "x"}).status_code == HTTPStatus.FORBIDDEN
    reader.force_login(User.objects.create_user("stranger", is_staff=True))
    assert reader.get(progress).status_code == HTTPStatus.FORBIDDEN
    assert replay.waiting == 1


def test_it_refuses_without_a_reason(operator: Client) -> None:
    row(State.DEAD)
    replay = replayed(state=State.DEAD)
    operator.post(reverse("admin:webhooks_replay_cancel", args=[replay.pk]), {"reason": " "})
    assert replay.waiting == 1


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ("state__exact=dead&reason=KeyError", "state: dead letter; reason: unexpected error, see the logs"),
        ("update_type=other", "type: other type"),
        ("id__in=1,2,3", "update number: 1, 2, 3"),
        ("id__in=1,2,3,4,5,6,7", "update number: 1, 2, 3, 4, 5 … (7)"),
        ("received_at_from_0=2026-11-25&received_at_from_1=10:30&o=1&p=2", "received from: 25 Nov 2026, 10:30:00 MSK"),
        ("--since 2026-11-25T07:30:00+00:00", "received from: 25 Nov 2026, 10:30:00 MSK"),
        ("received_at_to_0=tomorrow&received_at_to_1=25:61", "received until: tomorrow 25:61"),
        ("q=77", "MAX ID or update number: 77"),
        ("--state dead done --until 2026-11-25", "state: dead letter, done; received before: 2026-11-25"),
        ("all of them", "all of them"),
    ],
)  # fmt: skip
def test_a_selection_is_shown_in_words(selection: str, words: str) -> None:
    with translation.override("en"):
        assert in_words(selection) == words


def test_the_command_shows_progress_and_cancels(capsys: pytest.CaptureFixture[str]) -> None:
    rows(3, State.DEAD)
    call_command("replay_updates", "--state", "dead", "--reason", "fixed")
    replay = Replay.objects.get()
    assert f"Put back into the queue: 3, as replay {replay.pk}" in capsys.readouterr().out
    call_command("replay_updates", "--progress", str(replay.pk))
    assert capsys.readouterr().out == "Updates: 3, waiting: 3, cancelled: 0\n"
    call_command("replay_updates", "--cancel", str(replay.pk), "--reason", "oops", "--dry-run")
    assert capsys.readouterr().out == "Would be as before: 3\n"
    call_command("replay_updates", "--cancel", str(replay.pk), "--reason", "oops")
    assert capsys.readouterr().out == "As before: 3\n"
    assert not pending()
    with pytest.raises(CommandError, match="processed or cancelled"):
        call_command("replay_updates", "--cancel", str(replay.pk), "--reason", "oops")
    with pytest.raises(CommandError, match="There is no replay 0"):
        call_command("replay_updates", "--progress", "0")
