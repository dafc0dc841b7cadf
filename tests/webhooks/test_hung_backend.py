"""A session of PostgreSQL, or of a pooler, that never answers: the inbox closes it and goes on in another one."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from signal import SIGCONT, SIGSTOP

import pytest
from django.db import OperationalError, connection

from profiles.models import Profile
from profiles.rollout.decision import current_state
from profiles.rollout.heartbeat import SILENT_AFTER, convergence, heartbeat_thread
from tests.conftest import Phases
from tests.webhooks.inbox_rows import row
from tests.webhooks.test_clocks import dialog
from webhooks import processing
from webhooks.management.commands import process_inbox
from webhooks.models import InboxUpdate, State

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis")]


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
    monkeypatch.setattr(processing, "BATCH_SECONDS", 1.0)
    started = time.monotonic()
    with pytest.raises(OperationalError):
        processing.process_inbox()
    assert time.monotonic() - started < 5
    assert processing.process_inbox() == 1
    assert Profile.objects.get().first_name == "Олег"


def test_a_failed_attempt_has_a_deadline(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session hangs after the batch was rolled back, when the failure of its only update is to be recorded."""
    phases(100, 100)
    monkeypatch.setattr(processing, "BATCH_SECONDS", 1.0)
    failed = row(State.PENDING, body=dialog("Олег", row().received_at))
    pids: list[int] = []

    def fail(*_: object) -> None:
        pids.append(connection.connection.info.backend_pid)
        raise ValueError

    def delete_uncommitted(_: object) -> None:
        if timer.ident is None:
            os.kill(pids[0], SIGSTOP)
            # Without a deadline, the statement would wait for ever.
            timer.start()

    timer = threading.Timer(6, lambda: os.kill(pids[0], SIGCONT))
    with monkeypatch.context() as patched:
        patched.setattr(processing, "_merge", fail)
        patched.setattr(processing, "_delete_uncommitted", delete_uncommitted)
        with pytest.raises(OperationalError):
            processing.process_inbox()
    assert timer.is_alive(), "it was given up before the session went on"
    timer.cancel()
    with suppress(ProcessLookupError):
        os.kill(pids[0], SIGCONT)
    deadline = time.monotonic() + 10
    while not processing.process_inbox():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert InboxUpdate.objects.get(pk=failed.pk).state == State.DONE


def is_living() -> bool:
    return convergence().has_living("inbox")


def await_heartbeat(expected: bool) -> None:
    deadline = time.monotonic() + SILENT_AFTER.total_seconds() + 8
    while is_living() != expected:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_loop_that_hangs_is_silent(monkeypatch: pytest.MonkeyPatch, phases: Phases) -> None:
    """So `make health` and the container's check report it, and an orchestrator starts it again."""
    monkeypatch.setattr(process_inbox, "_STALLED_SECONDS", 2.0)
    stopping = process_inbox.Stopping()
    heartbeat_thread.start("inbox", stopping.is_watched)
    try:
        await_heartbeat(True)
        await_heartbeat(False)
        assert not stopping.is_set()
        await_heartbeat(True)
    finally:
        heartbeat_thread.stop()
