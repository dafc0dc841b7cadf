"""The scheduler: tasks that exist, one beat that sends them, and clocks that are set."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import time_machine
from celery.exceptions import Ignore
from celery.signals import beat_init
from django.conf import settings
from django.db import connection

from config import scheduler
from config.celery import PeriodicTask, app
from config.postgres.base import parameters
from config.scheduler import Scheduler
from tests.servers import FaultyServer
from tests.waiting import PATIENCE, seconds_until

HOUR = timedelta(hours=1)
LEAD = scheduler._LEAD


def test_the_scheduler_names_tasks_that_exist() -> None:
    app.loader.import_default_modules()
    assert {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} <= set(app.tasks)


@pytest.mark.django_db(transaction=True)
def test_alerts_are_checked_as_soon_as_the_scheduler_starts(broker_server: FaultyServer) -> None:
    """Not an interval later: till then nobody would know of any, and no step into phase 4 would be let through."""
    with app.connection_for_read() as connection, closing(connection.SimpleQueue("celery")) as queue:
        queue.clear()
        beat_init.send(sender=None)
        message = queue.get(timeout=PATIENCE)
        message.ack()
    assert message.headers["task"] == "monitoring.tasks.check_alerts"
    assert message.headers["expires"]


@pytest.mark.django_db(transaction=True)
def test_alerts_are_checked_before_a_backlog(broker_server: FaultyServer) -> None:
    """After a step of the clock, all tasks are due at once, and each may take some seconds."""
    entries = sorted(settings.CELERY_BEAT_SCHEDULE.values(), key=lambda entry: entry["task"].endswith("check_alerts"))
    with app.connection_for_read() as connection, closing(connection.SimpleQueue("celery")) as queue:
        queue.clear()
        for entry in entries:
            app.send_task(entry["task"], **entry["options"])
        names = [queue.get(timeout=PATIENCE).headers["task"] for _ in entries]
        queue.clear()
    assert names[0] == "monitoring.tasks.check_alerts"
    assert sorted(names) == sorted(entry["task"] for entry in entries)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the tasks that schedulers send from now on."""
    names: list[str] = []
    monkeypatch.setattr(Scheduler, "apply_async", lambda _self, entry, **_: names.append(entry.task))
    return names


@pytest.fixture
def patient_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have beat lead although a machine stands still for longer than it waits for PostgreSQL, or PostgreSQL for it."""
    monkeypatch.setattr(scheduler, "_DEADLINE_SECONDS", PATIENCE)
    monkeypatch.setattr(scheduler, "_LEAD", LEAD.replace("'10s'", "'10min'"))


@pytest.fixture
def beat(tmp_path: Path, sent: list[str], patient_database: None) -> Iterator[Scheduler]:
    yield Scheduler(app, schedule_filename=str(tmp_path / "celerybeat-schedule"))
    connection.close()


def tick_all(beat: Scheduler) -> float:
    """Have the scheduler send all that is due; return the seconds until something else is."""
    while (pause := beat.tick()) == 0:
        pass
    return pause


@pytest.mark.django_db(transaction=True)
def test_every_task_is_sent_at_first(beat: Scheduler, sent: list[str], tmp_path: Path) -> None:
    tick_all(beat)
    assert sorted(sent) == sorted(settings.CELERY_BEAT_SCHEDULE)
    assert (tmp_path / "celerybeat-schedule").exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("patient_database")
def test_it_sends_although_its_file_cannot_be_written(sent: list[str], tmp_path: Path) -> None:
    beat = Scheduler(app, schedule_filename=str(tmp_path / "missing" / "celerybeat-schedule"))
    tick_all(beat)
    connection.close()
    assert sorted(sent) == sorted(settings.CELERY_BEAT_SCHEDULE)


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", [-HOUR, HOUR, -24 * HOUR])
def test_a_clock_that_is_set_stops_no_task(beat: Scheduler, sent: list[str], step: timedelta) -> None:
    """Celery's own scheduler would be silent for as long as the clock was set back."""
    with time_machine.travel(datetime(2026, 11, 25, 9, tzinfo=UTC), tick=False) as clock:
        tick_all(beat)
        clock.shift(2)
        tick_all(beat)
        clock.shift(step)
        tick_all(beat)
        sent.clear()
        for _ in range(60):
            clock.shift(1)
            assert tick_all(beat) <= 2
        assert sent.count("employees.tasks.work_on_jobs") == pytest.approx(12, abs=1)
        assert sent.count("monitoring.tasks.measure_indicators") == 2
        assert {"profiles.tasks.refill_cache", "webhooks.tasks.prune_inbox"} <= set(sent)


@pytest.mark.django_db(transaction=True)
def test_of_two_beats_one_sends(beat: Scheduler, sent: list[str]) -> None:
    setting = "idle_in_transaction_session_timeout"
    with psycopg.connect(**parameters()) as other, psycopg.connect(**parameters(), autocommit=True) as third:
        # In one message: the limit begins with the answer.
        lead = f"{LEAD % scheduler._LOCK}; SHOW {setting}; SET LOCAL {setting} = '10min'"
        answers = other.execute(lead)
        # PostgreSQL ends the transaction of a beat that was stopped, as by SIGSTOP.
        assert answers.nextset()
        assert answers.fetchone() == ("10s",)
        assert [beat.tick() for _ in range(3)] == [scheduler.STANDBY_SECONDS] * 3
        assert sent == []
        other.execute(f"SET {setting} = '50ms'")
        pid = [other.info.backend_pid]
        seconds_until(lambda: not third.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid).fetchone())
        tick_all(beat)
        assert len(sent) == len(settings.CELERY_BEAT_SCHEDULE)
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            other.execute("SELECT 1")
        other.close()


@pytest.mark.django_db(transaction=True)
def test_without_a_database_it_waits(beat: Scheduler, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    with monkeypatch.context() as patched:
        patched.setattr(connection, "settings_dict", connection.settings_dict | {"HOST": "127.0.0.1", "PORT": "1"})
        assert beat.tick() == scheduler.STANDBY_SECONDS
    tick_all(beat)
    assert sent


def started(name: str) -> bool:
    task: Any = app.tasks[name]
    assert isinstance(task, PeriodicTask)
    try:
        task.before_start("id", [], {})
    except Ignore:
        return False
    return True


def test_what_has_piled_up_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """No clock of another host decides this: all that a beat sends whose clock is behind would have expired."""
    now = [1000.0]
    monkeypatch.setattr("config.celery.time.monotonic", lambda: now[0])
    app.loader.import_default_modules()
    names = ("employees.tasks.work_on_jobs", "monitoring.tasks.check_alerts", "employees.credentials.tasks.prune")
    for name in names:
        monkeypatch.setattr(app.tasks[name], "_started_at", None)
    assert [[started(name) for name in names] for _ in range(2)] == [[True, True, True], [False, False, True]]
    now[0] += 4
    assert [started(name) for name in names] == [True, False, True]
    now[0] += 296
    assert [started(name) for name in names] == [True, True, True]
