"""The guide from phase 1 to phase 4 and back, by commands alone; the story is printed as an operator reads it.

``make test-walkthrough`` plays it with 5 000 employees and 50 000 updates and writes
docs/tutorial/rollout-walkthrough.md; the test suite plays it with fewer.
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
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from employees.models import Employee
from monitoring.alerts import engine
from monitoring.rollout_control import controller, rollback
from monitoring.stats import population
from profiles.max_api import users
from profiles.rollout.decision import forget_state
from profiles.rollout.heartbeat import heartbeat_thread
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES, SHADOW
from tests.conftest import Phases
from tests.monitoring.evidence_rows import compared
from tests.profiles.fake_max import FakeMax
from tests.walkthrough.traffic import SECRET, Traffic, inbox_worker
from webhooks.models import InboxUpdate, State

IS_FULL = os.environ.get("WALKTHROUGH") == "full"
EMPLOYEES, UPDATES = (5_000, 50_000) if IS_FULL else (330, 1_500)
# The gates of phase 3 want 659 comparisons, and five lookups by the cache a step.
COLLECTED, A_DAY = (1_800, 200) if IS_FULL else (100, 46)
# What the short form takes as seen: an employee a comparison would be half of its time.
SEEN_ALREADY = 0 if IS_FULL else 570
START = datetime(2027, 3, 1, 9, 0, tzinfo=UTC)

HEAD = f"""# The rollout, walked through

Played by `make test-walkthrough`: {EMPLOYEES} employees, {UPDATES} updates, real PostgreSQL and Valkey, a fake of the
messenger's direct API, and a clock that is set forward. Every command and every answer is as printed.
"""

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(1800 if IS_FULL else 300),
    pytest.mark.xdist_group("slow"),
]


class Story:
    def __init__(self, clock: time_machine.Traveller, traffic: Traffic) -> None:
        self.clock, self.traffic = clock, traffic
        self.text = HEAD

    def tell(self, words: str) -> None:
        self.text += f"\n{words}\n"

    def chapter(self, title: str) -> None:
        self.tell(f"## {title}")

    def run(self, line: str, *, refused: str = "") -> str:
        """Type a command; ``refused`` is part of the one line that it must be refused with."""
        forget_state()
        if line == "rollout status":
            rollback.await_convergence()
        out, words = io.StringIO(), shlex.split(line)
        try:
            call_command(*words, stdout=out)
            error, answer = "", out.getvalue()
        except CommandError as refusal:
            error = str(refusal)
            answer = f"CommandError: {error}\n[exit {refusal.returncode}]"
        assert bool(error) == bool(refused), f"{line}: {answer}"
        assert refused in error
        tidy = "\n".join(row.rstrip() for row in answer.rstrip().splitlines())
        self.text += f"\n```\n$ manage.py {line}\n{tidy}\n```\n"
        return answer

    def later(self, **length: float) -> None:
        """Set the clock forward; in the last minutes a few people write, and the conductor looks three times."""
        pause = timedelta(minutes=6)
        self.clock.shift(timedelta(**length) - 3 * pause)
        for _ in range(3):
            self.clock.shift(pause)
            forget_state()
            self.traffic.write(range(20))
            drain()
            population.take()
            controller.run()
            engine.check_alerts()


def drain() -> None:
    while InboxUpdate.objects.filter(state=State.PENDING).exists():
        time.sleep(0.02)


def percents() -> list[float]:
    stored = {flag.name: float(flag.percent) for flag in Flag.objects.all()}
    return [stored[name] for name in PHASES]


@pytest.fixture
def story(
    phases: Phases,
    redis: object,
    direct: FakeMax,
    superadmin: User,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Story]:
    settings.WEBHOOK_SECRETS = []
    # A day passes in seconds here: at 29 a second the new employees of one would wait half a minute.
    monkeypatch.setattr(users, "SPACING", users.SPACING / 100)
    Flag.objects.update_or_create(name=SHADOW, defaults={"percent": Decimal(100), "salt": "shadow"})
    with time_machine.travel(START, tick=True) as clock:
        Flag.objects.update(moved_at=START)
        traffic = Traffic(direct, superadmin, EMPLOYEES, UPDATES)
        heartbeat_thread.start("web")
        told = Story(clock, traffic)
        # Forty thousand log lines are no part of the story.
        logging.disable(logging.ERROR)
        try:
            with inbox_worker():
                yield told
        finally:
            logging.disable(logging.NOTSET)
    print(told.text)  # noqa: T201 (the story is what the test is run for)
    if path := os.environ.get("STORY"):
        Path(path).write_text(told.text)


def test_from_phase_1_to_phase_4_and_back(story: Story, settings: Settings) -> None:
    infrastructure(story, settings)
    collection(story)
    first_cohort(story)
    if IS_FULL:
        trouble(story)
        stop_and_resume(story)
        story.later(days=8)
        story.traffic.hire(1_500)
        story.later(hours=24)
    whole_way(story)
    cache_primary(story)
    if not IS_FULL:
        stop_and_resume(story)
    the_way_back(story)
    assert Employee.objects.count() == EMPLOYEES
    assert story.traffic.sent >= UPDATES


def infrastructure(story: Story, settings: Settings) -> None:
    story.chapter("Phase 1: infrastructure")
    story.run("rollout status")
    story.run("rollout advance --by olga --reason 'deployed'", refused="WEBHOOK_SECRET is not set")
    story.tell("The secret is set, and the processes are started again.")
    settings.WEBHOOK_SECRETS = [SECRET.encode()]
    story.run("rollout gates --phase 1")
    story.run("rollout advance --by olga --reason 'deployed'")
    assert percents() == [100, 0, 0, 0]


def collection(story: Story) -> None:
    story.chapter("Phase 2: collection")
    story.run("rollout advance --by olga --reason 'start to collect'", refused="no synthetic update lately")
    story.run("rollout gates --probe")
    story.run("rollout advance --by olga --reason 'start to collect'")
    story.run("rollout set --phase 3 --percent 50 --by olga --reason 'no patience'", refused="comparisons")
    people, each = range(EMPLOYEES), max(UPDATES // EMPLOYEES - 1, 1)
    story.traffic.write(people, times=each)
    drain()
    story.traffic.hire(COLLECTED)
    compared(SEEN_ALREADY)
    story.tell(f"A day of traffic: {story.traffic.sent} updates, {story.traffic.hired} new employees.")
    story.later(hours=24)
    story.run("rollout gates")
    assert percents() == [100, 100, 0, 0]


def first_cohort(story: Story) -> None:
    story.chapter("Phase 3: the first cohort")
    first = story.traffic.universities[0].pk
    story.run(f"rollback emergency --rehearse --university {first} --by olga --reason 'drill before the first cohort'")
    story.run("rollout preview --phase 3 --percent 1 --limit 3")
    story.run("rollout replay --percent 50")
    story.run("rollout advance --by olga --reason 'first cohort' --dry-run")
    story.run("rollout advance --by olga --reason 'first cohort'")
    pilot = story.traffic.universities[3].pk
    story.run(f"rollout university allow --id {pilot} --by olga --reason 'volunteers'")
    story.run("rollout advance --by olga --reason 'impatient'", refused="dwell time")
    story.traffic.hire(A_DAY)
    story.later(hours=24)
    story.run("rollout advance --by olga --reason 'a quiet day'")
    story.traffic.hire(A_DAY)
    story.run("rollout schedule --phase 3 --percent 25 --at 24h --by olga --reason 'while I am away'")
    story.run("rollout status")
    story.later(hours=24, minutes=1)
    story.tell("The conductor has judged the planned step again, and taken it.")
    story.run("rollout status")
    assert percents() == [100, 100, 25, 0]
    story.traffic.hire(A_DAY)
    story.later(hours=24)


def trouble(story: Story) -> None:
    story.chapter("Trouble")
    story.tell("Many of today's new employees have married: the direct API knows their new names, the cache does not.")
    story.traffic.hire(300, married=250)
    story.later(minutes=18)
    story.run("rollout status")
    story.run("rollout advance --by olga --reason 'on'", refused="The rollout is paused")
    story.run("rollout gates --phase 3 --dry-run")


def stop_and_resume(story: Story) -> None:
    story.chapter("Emergency, and a new start")
    story.run("rollback emergency --by pavel --reason 'old names on new passes'")
    story.run("rollback emergency --by olga --reason 'me too'")
    story.run(
        "waffle_flag phase3_cache_first --percent 10 --reason 'back to work'",
        refused="only “rollout resume --reason …” clears it",
    )
    story.traffic.write(range(50))
    waiting = InboxUpdate.objects.filter(state=State.PENDING).count()
    assert waiting == 50
    story.tell(f"{waiting} updates arrive meanwhile: they are stored, and wait.")
    story.run("rollout status")
    story.run("rollout resume --by pavel --reason 'the names were updated in MAX'")
    assert percents() == [100, 100, 1, 0]
    drain()
    story.tell("The backlog is drained.")


def whole_way(story: Story) -> None:
    story.chapter("The whole way through phase 3")
    for share in (5, 25, 50, 75, 100):
        if share <= percents()[2]:
            continue
        story.run("rollout advance --by olga --reason 'every gate is green'")
        assert percents() == [100, 100, share, 0]
        if share < 100:
            story.traffic.hire(A_DAY)
            story.later(hours=24)
    story.run("rollout gates --phase 3 --dry-run")
    story.run("rollout checklist")


def cache_primary(story: Story) -> None:
    story.chapter("Phase 4: cache primary")
    story.run("rollout advance --phase 4 --by olga --reason 'tuning'", refused="phase 3 has been at 100% for")
    for share in (1, 5, 25, 50, 75, 100):
        story.later(hours=25)
        story.run("rollout advance --by olga --reason 'no alert'")
        assert percents() == [100, 100, 100, share]
    story.run("rollout status")


def the_way_back(story: Story) -> None:
    story.chapter("And back")
    story.run("rollout preview --phase 3 --percent 0.5 --limit 0")
    deepest = percents()[2:]
    story.run("rollout set --phase 3 --percent 0.5 --by pavel --reason 'the contract ends'")
    assert percents() == [100, 100, *(min(share, 0.5) for share in deepest)]
    story.run("rollback cache --by pavel --reason 'the contract ends'")
    story.run("rollback webhook --by pavel --reason 'the contract ends'")
    story.run("rollback schema --by pavel --reason 'the contract ends'", refused="only with every percentage at 0")
    story.run("rollout set --phase 1 --percent 0 --by pavel --reason 'the contract ends'")
    story.run("rollback schema --by pavel --reason 'the contract ends' --dry-run")
    story.run("rollout history --limit 40")
    assert percents() == [0, 0, 0, 0]
    story.traffic.hire(EMPLOYEES - story.traffic.hired)
    story.traffic.write(range(EMPLOYEES), times=max(UPDATES - story.traffic.sent, 0) // EMPLOYEES + 1)
