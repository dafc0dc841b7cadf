"""Kills processes while updates and employees arrive, then checks every promise about them."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
import redis

from tests.chaos.employee_load import EmployeeLoad
from tests.chaos.system import PARTS, System
from tests.chaos.updates import generate
from tests.chaos.webhook_load import WebhookLoad

COPIES = 5
CONNECTIONS = 8
RECOVERY_SECONDS = 60.0
# The faults end before the load does, so that the system recovers under load.
_LAST_FAULT = 0.95


@dataclass(frozen=True)
class Plan:
    seed: int
    updates: int
    faults_per_part: int
    seconds: float


@dataclass
class Fault:
    part: str
    at: float
    pid: int | None = None


@dataclass
class Result:
    """Counts of what is wrong; ``recovery_seconds`` is the time from the last fault to this check."""

    unacknowledged: int
    missing: int = 0
    stored_late: int = 0
    duplicates: int = 0
    unprocessed: int = 0
    wrong_in_postgres: int = 0
    wrong_in_redis: int = 0
    employees_lost: int = 0
    employees_duplicated: int = 0
    employees_not_created: int = 0
    unexpected_answers: dict[int | str, int] = field(default_factory=dict)
    missed_faults: int = 0
    recovery_seconds: float = 0.0

    def violations(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "recovery_seconds" and value}


class Scenario:
    def __init__(self, system: System, plan: Plan) -> None:
        self.system = system
        self.plan = plan
        choice = random.Random(plan.seed)
        self.updates = generate(choice, plan.updates)
        deliveries = self.updates.bodies * COPIES
        choice.shuffle(deliveries)
        self.webhook = WebhookLoad(system, deliveries, connections=CONNECTIONS, seconds=plan.seconds)
        self.employees = EmployeeLoad(system, first_phone=choice.randrange(10**9), seconds=plan.seconds)
        self.faults = [
            Fault(part, plan.seconds * choice.uniform(0.05, _LAST_FAULT))
            for part in PARTS
            for _ in range(plan.faults_per_part)
        ]
        self.done: list[Fault] = []
        self.last_fault_at = 0.0

    def run(self, show_progress: Callable[["Scenario"], None]) -> Result:
        """Run the load and the faults, wait for the recovery, and return the last check."""
        self.webhook.start()
        self.employees.start()
        killers = [threading.Thread(target=self._kill, args=[part], daemon=True) for part in PARTS]
        for killer in killers:
            killer.start()
        try:
            while self.webhook.is_running() or self.employees.is_running() or any(k.is_alive() for k in killers):
                show_progress(self)
                time.sleep(0.1)
            deadline = max(self.last_fault_at, time.monotonic()) + RECOVERY_SECONDS
            while (result := self._check()).violations() and time.monotonic() <= deadline:
                show_progress(self)
                time.sleep(0.2)
            return result
        finally:
            self.webhook.is_cancelled = self.employees.is_cancelled = True

    def _kill(self, part: str) -> None:
        choice = random.Random(f"{self.plan.seed} {part}")
        killed: set[int] = set()
        for fault in sorted((fault for fault in self.faults if fault.part == part), key=lambda fault: fault.at):
            time.sleep(max(0.0, self.webhook.started_at + fault.at - time.monotonic()))
            # A part that is still down from the last fault is killed as soon as it is back.
            while fault.pid is None and self.webhook.is_running():
                fault.pid = self.system.kill_one(part, choice, killed)
                time.sleep(0.05)
            if fault.pid is not None:
                killed.add(fault.pid)
                self.last_fault_at = time.monotonic()
                self.done.append(fault)

    def _check(self) -> Result:
        result = Result(len(self.webhook.deliveries) - self.webhook.acknowledged)
        result.missed_faults = len(self.faults) - len(self.done)
        result.unexpected_answers = {
            answer: count
            for answer, count in [*self.webhook.answers.items(), *self.employees.unexpected_answers.items()]
            if isinstance(answer, int) and answer not in (200, 503)
        }
        result.employees_not_created = len(self.employees.phones) - len(self.employees.created)
        with self.system.database() as database:
            self._check_inbox(database, result)
            self._check_profiles(database, result)
            self._check_employees(database, result)
        self._check_redis(result)
        result.recovery_seconds = time.monotonic() - self.last_fault_at
        return result

    def _check_inbox(self, database: psycopg.Connection, result: Result) -> None:
        sent = set(self.updates.bodies)
        stored = database.cursor(binary=True).execute("SELECT body, state, received_at FROM webhook_inbox").fetchall()
        rows = [row for row in stored if row[0] in sent]
        counts = Counter(body for body, _, _ in rows)
        result.missing = len(sent) - len(counts)
        result.duplicates = len(rows) - len(counts)
        result.unprocessed = sum(state != "done" for _, state, _ in rows)
        # A row that is newer than the first acknowledgement comes from a later copy: the acknowledged one was lost.
        acknowledged_at = self.webhook.first_acknowledged_at
        result.stored_late = sum(received_at > acknowledged_at[body] for body, _, received_at in rows)

    def _check_profiles(self, database: psycopg.Connection, result: Result) -> None:
        expected = self.updates.expected()
        query = "SELECT user_id, first_name, last_name, user_provided_name FROM profile_cache WHERE user_id = ANY(%s)"
        stored = {
            user_id: tuple(name or "" for name in names)
            for user_id, *names in database.execute(query, [list(expected)]).fetchall()
        }
        result.wrong_in_postgres = sum(stored.get(user_id) != names for user_id, names in expected.items())

    def _check_employees(self, database: psycopg.Connection, result: Result) -> None:
        query = "SELECT phone FROM employees WHERE phone = ANY(%s)"
        rows = database.execute(query, [self.employees.phones]).fetchall()
        counts = Counter(phone for (phone,) in rows)
        result.employees_lost = len(self.employees.created - counts.keys())
        result.employees_duplicated = len(rows) - len(counts)

    def _check_redis(self, result: Result) -> None:
        expected = self.updates.expected()
        try:
            entries = self.system.cache().mget([f"profile:user:{user_id}" for user_id in expected])
        except redis.ConnectionError:
            entries = [None] * len(expected)
        stored = [_names_in(entry) for entry in entries]
        result.wrong_in_redis = sum(mine != names for mine, names in zip(stored, expected.values(), strict=True))


def _names_in(entry: bytes | str | None) -> tuple[str, ...] | None:
    if entry is None:
        return None
    profile = json.loads(entry)
    return tuple(profile[name] for name in ("max_first_name", "max_last_name", "user_provided_name"))
