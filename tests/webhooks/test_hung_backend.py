"""A session of PostgreSQL, or of a pooler, that never answers: the inbox closes it and goes on in another one."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from signal import SIGCONT, SIGSTOP

import pytest
from django.db import OperationalError, connection

from config.postgres import base
from profiles.models import Profile
from profiles.rollout.decision import current_state
from profiles.rollout.heartbeat import convergence, heartbeat_thread
from tests.conftest import Phases
from tests.waiting import PATIENCE, seconds_until, within
from tests.webhooks.inbox_rows import row
from tests.webhooks.test_clocks import dialog
from webhooks import processing
from webhooks.management.commands import process_inbox
from webhooks.models import InboxUpdate, State

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis")]


@pytest.fixture(autouse=True)
def _deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait as shortly as usual for the cancellation, which does not come; give a batch the time that it needs here."""
    monkeypatch.setattr(base, "_CANCEL_SECONDS", 0.1)
    monkeypatch.setattr(processing, "BATCH_SECONDS", PATIENCE)


@pytest.fixture
def hung(redis: object, phases: Phases, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop the server's process behind our connection; the heartbeat, which has another one, knows the rollout."""
    phases(100, 100)
    state = current_state()
    monkeypatch.setattr(processing, "current_state", lambda: state)
    row(State.PENDING, body=dialog("Олег", row().received_at))
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    os.kill(pid, SIGSTOP)
    yield
    os.kill(pid, SIGCONT)


@pytest.mark.usefixtures("hung")
def test_it_goes_on_in_another_session(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(processing, "BATCH_SECONDS", 1.0)
        with within(30), pytest.raises(OperationalError):
            processing.process_inbox()
    assert processing.process_inbox() == 1
    assert Profile.objects.get().first_name == "Олег"


@pytest.mark.long
def test_a_failed_attempt_has_a_deadline(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session hangs after the batch was rolled back, when the failure of its only update is to be recorded."""
    phases(100, 100)
    failed = row(State.PENDING, body=dialog("Олег", row().received_at))
    pids: list[int] = []

    def fail(*_: object) -> None:
        pids.append(connection.connection.info.backend_pid)
        raise ValueError

    def delete_uncommitted(_: object) -> None:
        if timer.ident is None:
            os.kill(pids[0], SIGSTOP)
            patched.setattr(processing, "BATCH_SECONDS", 1.0)
            # Without a deadline, the statement would wait for ever.
            timer.start()

    timer = threading.Timer(PATIENCE, lambda: os.kill(pids[0], SIGCONT))
    with monkeypatch.context() as patched:
        patched.setattr(processing, "_merge", fail)
        patched.setattr(processing, "_delete_uncommitted", delete_uncommitted)
        with pytest.raises(OperationalError):
            processing.process_inbox()
    assert timer.is_alive(), "it was given up before the session went on"
    timer.cancel()
    with suppress(ProcessLookupError):
        os.kill(pids[0], SIGCONT)
    seconds_until(processing.process_inbox)
    assert InboxUpdate.objects.get(pk=failed.pk).state == State.DONE


def is_living() -> bool:
    return convergence().has_living("inbox")


def await_heartbeat(expected: bool) -> None:
    seconds_until(lambda: is_living() == expected)


@pytest.mark.long
def test_a_loop_that_hangs_is_silent(phases: Phases) -> None:
    """So `make health` and the container's check report it, and an orchestrator starts it again."""
    stopping = process_inbox.Stopping()
    heartbeat_thread.start("inbox", stopping.is_watched)
    try:
        await_heartbeat(True)
        stopping._seen_at -= process_inbox._STALLED_SECONDS
        await_heartbeat(False)
        assert not stopping.is_set()
        await_heartbeat(True)
    finally:
        heartbeat_thread.stop()
