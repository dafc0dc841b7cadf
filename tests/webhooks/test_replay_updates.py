"""``manage.py replay_updates``."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.webhooks.inbox_rows import row
from webhooks.models import InboxUpdate, Replay, State

pytestmark = pytest.mark.django_db


def replay(*args: Any, reason: str = "fixed") -> str:
    output = io.StringIO()
    call_command("replay_updates", *args, "--reason", reason, stdout=output)
    return output.getvalue()


def pending() -> set[int]:
    return set(InboxUpdate.objects.pending().values_list("pk", flat=True))


def test_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "anna")
    dead, other = row(State.DEAD, tries=6, error="Traceback", reason="KeyError"), row()
    row(State.DEAD, body=None)
    output = replay("--state", "dead")
    replays = f"Put back into the queue: 1, as replay {Replay.objects.get().pk}\n"
    assert output == f"Can be replayed: 1, without a body: 1, already in the queue: 0\n{replays}"
    assert pending() == {dead.pk}
    dead.refresh_from_db()
    # The traceback stays until the next attempt: a cancelled replay would need it again.
    assert (dead.tries, dead.error, dead.reason, dead.finished_at) == (0, "Traceback", "", None)
    audit = Replay.objects.get()
    assert (audit.by, audit.selection, audit.reason, audit.count) == ("anna (manage.py)", "--state dead", "fixed", 1)
    other.refresh_from_db()
    assert other.state == State.DONE


def test_a_second_replay_changes_nothing() -> None:
    update = row(State.SKIPPED)
    replay("--id", update.pk)
    assert replay("--id", update.pk) == "Can be replayed: 0, without a body: 0, already in the queue: 1\n"
    assert Replay.objects.count() == 1


@pytest.mark.parametrize(
    "selection",
    [
        ["--state", "dead", "quarantined", "--type", "user_added"],
        ["--user", "7", "--state", "dead"],
        ["--since", (timezone.now() - timedelta(hours=50)).isoformat(), "--until", timezone.now().isoformat()],
    ],
)
def test_conditions_narrow_each_other(selection: list[str]) -> None:
    wanted = row(State.DEAD, timedelta(hours=49), update_type="user_added", user_id="7")
    row(State.DEAD, timedelta(hours=51), user_id="8")
    row(State.DONE, timedelta(hours=51), update_type="user_added", user_id="7")
    replay(*selection)
    assert pending() == {wanted.pk}


def test_several_ids() -> None:
    rows = [row() for _ in range(3)]
    replay("--id", rows[0].pk, rows[2].pk)
    assert pending() == {rows[0].pk, rows[2].pk}
    assert Replay.objects.get().selection == f"--id {rows[0].pk} {rows[2].pk}"


def test_a_date_without_an_offset_is_in_the_zone_of_the_site() -> None:
    update = row(received_at="2026-11-24T21:30:00Z")
    row(received_at="2026-11-24T20:30:00Z")
    replay("--since", "2026-11-25")
    assert pending() == {update.pk}


def test_a_dry_run_touches_nothing() -> None:
    row(State.DEAD)
    assert replay("--state", "dead", "--dry-run").startswith("Can be replayed: 1")
    assert not pending()
    assert not Replay.objects.exists()


def test_it_refuses_to_replay_everything_by_accident() -> None:
    row()
    with pytest.raises(CommandError, match="--state"):
        replay()
    assert not pending()


def test_it_refuses_without_a_reason() -> None:
    with pytest.raises(CommandError, match="--reason"):
        call_command("replay_updates", "--state", "dead")
    with pytest.raises(CommandError, match="--reason"):
        replay("--state", "dead", reason=" ")


@pytest.mark.parametrize(
    "selection", [["--since", "yesterday"], ["--state", "pending"], ["--id", "x"], ["--type", "nosuch"]]
)
def test_it_refuses_a_selection_that_makes_no_sense(selection: list[str]) -> None:
    with pytest.raises(CommandError):
        replay(*selection)
