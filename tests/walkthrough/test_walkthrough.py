"""Moves the rollout from phase 1 to phase 4 and back by commands, and records each command with its answer.

``make test-walkthrough`` does it with 5,000 employees and 50,000 updates and writes
docs/tutorial/rollout-walkthrough.md; the test suite uses fewer.
"""

from __future__ import annotations

import io
import logging
import os
import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from employees.models import Employee
from monitoring.alerts import engine
from monitoring.rollout_control import controller, rollback
from monitoring.stats import cached
from profiles.max_api import users
from profiles.rollout.decision import forget_state
from profiles.rollout.heartbeat import heartbeat_thread
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES, SHADOW
from tests.conftest import Phases
from tests.monitoring.comparison_rows import compared
from tests.profiles.fake_max import FakeMax
from tests.walkthrough.moved_clock import MovedClock, moved_clock
from tests.walkthrough.people import SECRET, People, inbox_worker
from webhooks.models import InboxUpdate, State

IS_FULL = os.environ.get("WALKTHROUGH") == "full"
EMPLOYEES, UPDATES = (5_000, 50_000) if IS_FULL else (330, 1_500)
# The gates of phase 3 need 659 comparisons, and five lookups through the cache at each step.
HIRED_IN_PHASE_2, HIRED_DAILY = (1_800, 200) if IS_FULL else (100, 46)
# The short form stores most comparisons directly: to create an employee for each takes half of its time.
STORED_COMPARISONS = 0 if IS_FULL else 570
START = datetime(2027, 3, 1, 9, 0, tzinfo=UTC)

HEAD = f"""# The whole rollout, recorded

This page shows the commands of a whole rollout with their output. The operators are Olga and Pavel: `--by olga` names
who enters the command. At the end, Pavel moves all employees back to the direct API.

`make test-walkthrough` recorded the page, in one process, with {EMPLOYEES:,} employees, {UPDATES:,} updates, real
PostgreSQL and Valkey servers, and a simulated direct API. The recording of the three weeks took some minutes, because
the clocks of the process and of PostgreSQL were set forward. Valkey's clock was not, so no profile expired in Valkey.
"""

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(1800 if IS_FULL else 300),
    pytest.mark.xdist_group("slow"),
]


class Recording:
    def __init__(self, clock: MovedClock, people: People) -> None:
        self.clock, self.people = clock, people
        self.text = HEAD

    def write(self, paragraph: str) -> None:
        self.text += f"\n{paragraph}\n"

    def chapter(self, title: str) -> None:
        self.write(f"## {title}")

    def run(self, line: str, *, refused: str = "") -> str:
        """Run a command and return its answer; it must succeed, or fail with a message that contains ``refused``."""
        forget_state()
        if line == "rollout status":
            rollback.await_convergence()
        output, message = io.StringIO(), ""
        try:
            call_command(*shlex.split(line), stdout=output)
            answer = output.getvalue()
        except CommandError as error:
            message = str(error)
            answer = f"CommandError: {message}\n[exit {error.returncode}]"
        assert bool(message) == bool(refused), f"{line}: {answer}"
        assert refused in message
        tidy = "\n".join(row.rstrip() for row in answer.rstrip().splitlines())
        self.text += f"\n```\n$ manage.py {line}\n{tidy}\n```\n"
        return answer

    def wait(self, **length: float) -> None:
        """Set the clock forward; in the last minutes a few people write, and the worker's tasks run three times."""
        pause = timedelta(minutes=6)
        # Within a second of the last change, not within a day of it.
        rollback.await_convergence()
        self.clock.shift(timedelta(**length) - 3 * pause)
        for _ in range(3):
            self.clock.shift(pause)
            forget_state()
            self.people.write(range(20))
            drain()
            cached.take()
            controller.run()
            engine.check_alerts()


def drain() -> None:
    while InboxUpdate.objects.filter(state=State.PENDING).exists():
        time.sleep(0.02)


def percents() -> list[float]:
    stored = {flag.name: float(flag.percent) for flag in Flag.objects.all()}
    return [stored[name] for name in PHASES]


@pytest.fixture
def recording(
    phases: Phases,
    redis: object,
    direct: FakeMax,
    superadmin: User,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Recording]:
    settings.WEBHOOK_SECRETS = []
    # A day's new employees arrive within seconds: at 29 requests a second they would wait for half a minute.
    monkeypatch.setattr(users, "SPACING", users.SPACING / 100)
    Flag.objects.update_or_create(name=SHADOW, defaults={"percent": Decimal(100), "salt": "shadow"})
    with moved_clock(START) as clock:
        Flag.objects.update(moved_at=START)
        started = Recording(clock, People(direct, superadmin))
        heartbeat_thread.start("web")
        # There would be forty thousand lines.
        logging.disable(logging.ERROR)
        try:
            with inbox_worker():
                yield started
        finally:
            logging.disable(logging.NOTSET)
    print(started.text)  # noqa: T201 (the result of `make test-walkthrough`)
    if path := os.environ.get("RECORD_TO"):
        Path(path).write_text(started.text)


def test_it_goes_to_phase_4_and_back(recording: Recording, settings: Settings) -> None:
    infrastructure(recording, settings)
    collection(recording)
    first_cohort(recording)
    if IS_FULL:
        wrong_names(recording)
        stop_and_resume(recording)
        recording.wait(days=8)
        recording.people.hire(1_500)
        recording.wait(hours=24)
        recording.write(
            "Nine days pass, and 1,500 employees are created. For the gates, only comparisons since the resume count."
        )
    through_phase_3(recording)
    cache_primary(recording)
    if not IS_FULL:
        stop_and_resume(recording)
    take_everything_back(recording)
    assert Employee.objects.count() == EMPLOYEES
    assert recording.people.sent >= UPDATES


def infrastructure(recording: Recording, settings: Settings) -> None:
    recording.chapter("Phase 1: infrastructure")
    recording.run("rollout status")
    recording.run("rollout advance --by olga --reason 'deployed'", refused="WEBHOOK_SECRET is not set")
    recording.write("The operator sets the secret and restarts the processes.")
    settings.WEBHOOK_SECRETS = [SECRET.encode()]
    recording.run("rollout gates --phase 1")
    recording.run("rollout advance --by olga --reason 'deployed'")
    assert percents() == [100, 0, 0, 0]


def collection(recording: Recording) -> None:
    recording.chapter("Phase 2: collection")
    recording.run("rollout advance --by olga --reason 'start to collect'", refused="no synthetic update in the last")
    recording.people.write(range(20))
    drain()
    recording.write(
        f"MAX sends the first {recording.people.sent} updates. They are processed, but their names are not stored,"
        " because phase 2 is at 0%."
    )
    recording.run("rollout gates --probe")
    recording.run("rollout advance --by olga --reason 'start to collect'")
    recording.run("rollout set --phase 3 --percent 50 --by olga --reason 'no patience'", refused="comparisons")
    people, each = range(EMPLOYEES), max(UPDATES // EMPLOYEES - 1, 1)
    recording.people.write(people, times=each)
    drain()
    recording.people.hire(HIRED_IN_PHASE_2)
    compared(STORED_COMPARISONS)
    recording.write(
        f"A day passes. By now, {recording.people.sent:,} updates have arrived, and {recording.people.hired:,}"
        " employees have been created."
    )
    recording.wait(hours=24)
    recording.run("rollout gates")
    assert percents() == [100, 100, 0, 0]


def first_cohort(recording: Recording) -> None:
    recording.chapter("Phase 3: the first cohort")
    first = recording.people.universities[0].pk
    recording.run(
        f"rollback emergency --rehearse --university {first} --by olga --reason 'drill before the first cohort'"
    )
    recording.run("rollout preview --phase 3 --percent 1 --limit 3")
    recording.run("rollout replay --percent 50")
    recording.run("rollout advance --by olga --reason 'first cohort' --dry-run")
    recording.run("rollout advance --by olga --reason 'first cohort'")
    pilot = recording.people.universities[3].pk
    recording.run(f"rollout university allow --id {pilot} --by olga --reason 'volunteers'")
    recording.run("rollout advance --by olga --reason 'impatient'", refused="dwell time")
    recording.people.hire(HIRED_DAILY)
    recording.wait(hours=24)
    recording.write(f"A day passes, and {HIRED_DAILY} employees are created.")
    recording.run("rollout advance --by olga --reason 'a quiet day'")
    recording.people.hire(HIRED_DAILY)
    recording.run("rollout schedule --phase 3 --percent 25 --at 24h --by olga --reason 'while I am away'")
    recording.run("rollout status")
    recording.wait(hours=24, minutes=1)
    recording.write("When the planned step is due, the rollout controller checks the gates again and takes the step.")
    recording.run("rollout status")
    assert percents() == [100, 100, 25, 0]
    recording.people.hire(HIRED_DAILY)
    recording.wait(hours=24)


def wrong_names(recording: Recording) -> None:
    recording.chapter("Wrong names, and a hold")
    recording.write(
        "Today 300 employees are created. Many of them have married: the direct API has their new last names, but the\n"
        "cache has the old ones. The rollout controller pauses the rollout."
    )
    recording.people.hire(300, married=250)
    recording.wait(minutes=18)
    recording.run("rollout status")
    recording.run("rollout advance --by olga --reason 'on'", refused="The rollout is paused")
    recording.run("rollout gates --phase 3 --dry-run")


def stop_and_resume(recording: Recording) -> None:
    recording.chapter("Emergency stop, and a restart")
    recording.run("rollback emergency --by pavel --reason 'old names on new passes'")
    recording.run("rollback emergency --by olga --reason 'me too'")
    recording.run(
        "waffle_flag phase3_cache_first --percent 10 --reason 'back to work'",
        refused="until somebody resumes the rollout",
    )
    recording.people.write(range(50))
    waiting = InboxUpdate.objects.filter(state=State.PENDING).count()
    assert waiting == 50
    recording.write(f"While the rollout is stopped, {waiting} updates arrive. They are stored but not processed.")
    recording.run("rollout status")
    recording.run("rollout resume --by pavel --reason 'the names were updated in MAX'")
    assert percents() == [100, 100, 1, 0]
    drain()
    recording.write("The inbox worker now processes the updates that have arrived in the meantime.")


def through_phase_3(recording: Recording) -> None:
    recording.chapter("Through phase 3")
    recording.write(f"Between two steps, a day passes, and {HIRED_DAILY} employees are created.")
    for share in (5, 25, 50, 75, 100):
        if share <= percents()[2]:
            continue
        recording.run("rollout advance --by olga --reason 'every gate is green'")
        assert percents() == [100, 100, share, 0]
        if share < 100:
            recording.people.hire(HIRED_DAILY)
            recording.wait(hours=24)
    recording.run("rollout gates --phase 3 --dry-run")
    recording.run("rollout checklist")


def cache_primary(recording: Recording) -> None:
    recording.chapter("Phase 4: cache primary")
    recording.run("rollout advance --phase 4 --by olga --reason 'tuning'", refused="phase 3 has been at 100% for")
    recording.write("Before each of these steps, 25 hours pass, which is more than the dwell time of 24 hours.")
    for share in (1, 5, 25, 50, 75, 100):
        recording.wait(hours=25)
        recording.run("rollout advance --by olga --reason 'no alert'")
        assert percents() == [100, 100, 100, share]
    recording.run("rollout status")


def take_everything_back(recording: Recording) -> None:
    recording.chapter("Back to the direct API")
    recording.run("rollout preview --phase 3 --percent 0.5 --limit 0")
    deepest = percents()[2:]
    recording.run("rollout set --phase 3 --percent 0.5 --by pavel --reason 'the contract ends'")
    assert percents() == [100, 100, *(min(share, 0.5) for share in deepest)]
    recording.run("rollback cache --by pavel --reason 'the contract ends'")
    recording.run("rollback webhook --by pavel --reason 'the contract ends'")
    recording.run("rollback schema --by pavel --reason 'the contract ends'", refused="Set every percentage to 0")
    recording.run("rollout set --phase 1 --percent 0 --by pavel --reason 'the contract ends'")
    recording.run("rollback schema --by pavel --reason 'the contract ends' --dry-run")
    recording.run("rollout history --limit 40")
    assert percents() == [0, 0, 0, 0]
    recording.people.hire(EMPLOYEES - recording.people.hired)
    recording.people.write(range(EMPLOYEES), times=max(UPDATES - recording.people.sent, 0) // EMPLOYEES + 1)
