"""One ordeal: updates are sent while parts are killed, then everything that was promised is checked."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
import redis

from tests.chaos.hiring import Hiring
from tests.chaos.sending import Load
from tests.chaos.story import Story, tell
from tests.chaos.system import PARTS, System

COPIES = 5
CONNECTIONS = 8
SETTLE_SECONDS = 60.0
# The faults end before the load does: recovery under load is a part of the ordeal.
_FAULTS_END = 0.95


@dataclass(frozen=True)
class Plan:
    seed: int
    updates: int
    faults_a_part: int
    seconds: float


@dataclass
class Fault:
    part: str
    at: float
    pid: int | None = None


@dataclass
class Verdict:
    """What is wrong: every number but ``settled_after`` (seconds after the last fault) has to be zero."""

    unacknowledged: int
    missing: int = 0
    stored_anew: int = 0
    doubles: int = 0
    unprocessed: int = 0
    behind_in_postgres: int = 0
    behind_in_redis: int = 0
    employees_lost: int = 0
    employees_doubled: int = 0
    employees_not_created: int = 0
    strange_answers: dict[int | str, int] = field(default_factory=dict)
    missed_faults: int = 0
    settled_after: float = 0.0

    def complaints(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "settled_after" and value}


class Ordeal:
    def __init__(self, system: System, plan: Plan) -> None:
        self.system = system
        self.plan = plan
        self.choice = random.Random(plan.seed)
        self.story: Story = tell(self.choice, plan.updates)
        deliveries = self.story.bodies * COPIES
        self.choice.shuffle(deliveries)
        self.load = Load(system, deliveries, connections=CONNECTIONS, seconds=plan.seconds)
        self.hiring = Hiring(system, first_phone=self.choice.randrange(10**9), seconds=plan.seconds)
        self.faults = [
            Fault(part, plan.seconds * self.choice.uniform(0.05, _FAULTS_END))
            for part in PARTS
            for _ in range(plan.faults_a_part)
        ]
        self.struck: list[Fault] = []
        self.last_fault_at = 0.0

    def run(self, watch: Callable[["Ordeal"], None]) -> Verdict:
        """Send, kill and check; ``watch`` is called now and then meanwhile."""
        self.load.start()
        self.hiring.start()
        killers = [threading.Thread(target=self._strike, args=[part], daemon=True) for part in PARTS]
        for killer in killers:
            killer.start()
        try:
            while self.load.is_running() or self.hiring.is_running() or any(killer.is_alive() for killer in killers):
                watch(self)
                time.sleep(0.1)
            return self._settle(watch)
        finally:
            self.load.is_cancelled = self.hiring.is_cancelled = True

    def _strike(self, part: str) -> None:
        choice = random.Random(f"{self.plan.seed} {part}")
        killed: set[int] = set()
        for fault in sorted((fault for fault in self.faults if fault.part == part), key=lambda fault: fault.at):
            time.sleep(max(0.0, self.load.started_at + fault.at - time.monotonic()))
            # A part that is still down from the last fault is killed as soon as it is back.
            while fault.pid is None and self.load.is_running():
                fault.pid = self.system.kill_one(part, choice, killed)
                time.sleep(0.05)
            if fault.pid is not None:
                killed.add(fault.pid)
                self.last_fault_at = time.monotonic()
                self.struck.append(fault)

    def _settle(self, watch: Callable[["Ordeal"], None]) -> Verdict:
        """Look until nothing is wrong any more, at most for as long as recovery may take."""
        deadline = max(self.last_fault_at, time.monotonic()) + SETTLE_SECONDS
        while True:
            verdict = self._look()
            if not verdict.complaints() or time.monotonic() > deadline:
                return verdict
            watch(self)
            time.sleep(0.2)

    def _look(self) -> Verdict:
        verdict = Verdict(len(self.load.deliveries) - self.load.acknowledged)
        verdict.missed_faults = len(self.faults) - len(self.struck)
        verdict.strange_answers = {
            answer: count
            for answer, count in [*self.load.answers.items(), *self.hiring.strange_answers.items()]
            if isinstance(answer, int) and answer not in (200, 503)
        }
        verdict.employees_not_created = len(self.hiring.tried) - len(self.hiring.created)
        with self.system.database() as database:
            self._look_into_inbox(database, verdict)
            self._look_into_profiles(database, verdict)
            self._look_into_employees(database, verdict)
        self._look_into_redis(verdict)
        verdict.settled_after = time.monotonic() - self.last_fault_at
        return verdict

    def _look_into_inbox(self, database: psycopg.Connection, verdict: Verdict) -> None:
        sent = set(self.story.bodies)
        found = database.cursor(binary=True).execute("SELECT body, state, received_at FROM webhook_inbox").fetchall()
        rows = [row for row in found if row[0] in sent]
        counts = Counter(body for body, _, _ in rows)
        verdict.missing = len(sent) - len(counts)
        verdict.doubles = len(rows) - len(counts)
        verdict.unprocessed = sum(state != "done" for _, state, _ in rows)
        # A copy that came later must not hide that the one which was acknowledged had been lost.
        acknowledged_at = self.load.first_acknowledged_at
        verdict.stored_anew = sum(received_at > acknowledged_at[body] for body, _, received_at in rows)

    def _look_into_profiles(self, database: psycopg.Connection, verdict: Verdict) -> None:
        expected = self.story.expected()
        query = "SELECT user_id, first_name, last_name, user_provided_name FROM profile_cache WHERE user_id = ANY(%s)"
        known = {
            user_id: tuple(name or "" for name in names)
            for user_id, *names in database.execute(query, [list(expected)]).fetchall()
        }
        verdict.behind_in_postgres = sum(known.get(user_id) != names for user_id, names in expected.items())

    def _look_into_employees(self, database: psycopg.Connection, verdict: Verdict) -> None:
        found = database.execute("SELECT phone FROM employees WHERE phone = ANY(%s)", [self.hiring.tried]).fetchall()
        counts = Counter(phone for (phone,) in found)
        verdict.employees_lost = len(self.hiring.created - counts.keys())
        verdict.employees_doubled = len(found) - len(counts)

    def _look_into_redis(self, verdict: Verdict) -> None:
        expected = self.story.expected()
        try:
            texts = self.system.cache().mget([f"profile:user:{user_id}" for user_id in expected])
        except redis.ConnectionError:
            texts = [None] * len(expected)
        known = [_names_in(text) for text in texts]
        verdict.behind_in_redis = sum(mine != names for mine, names in zip(known, expected.values(), strict=True))


def _names_in(text: bytes | str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    fields = json.loads(text)
    return tuple(fields[name] for name in ("max_first_name", "max_last_name", "user_provided_name"))
