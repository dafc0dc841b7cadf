"""Sends updates, employees, erasures and changes of the rollout to a system under faults, and checks every promise."""

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
import redis

from tests.chaos.checks import ERASED, UNAVAILABLE, WAITED_FOR, Findings, Loads, check
from tests.chaos.client import Client
from tests.chaos.employee_load import EmployeeLoad
from tests.chaos.fake_direct_api import DirectApi
from tests.chaos.faults import Context, Kind, kinds
from tests.chaos.people_load import Erasures, Renames
from tests.chaos.readers import Readers
from tests.chaos.responses import BOUNDS, Answers
from tests.chaos.rollout_load import RolloutLoad
from tests.chaos.system import PARTS, System
from tests.chaos.updates import generate
from tests.chaos.webhook_load import PATH, WebhookLoad

COPIES = 4
CONNECTIONS = 8
# From the end of a fault until everything works again; the first restart of a process takes up to five seconds.
WELL_SECONDS = 30.0
# From the last fault until the inbox is empty, Redis is filled, and names are looked up that were not found.
RECOVERY_SECONDS = 60.0
# The second pass of an erasure begins a minute after the first, in a task of every minute.
ERASURE_SECONDS = 150.0
_SHORTEST, _LONGEST = 1.0, 5.0


@dataclass(frozen=True)
class Plan:
    """``seconds`` is how long faults and requests begin; with ``names``, only the faults whose names begin so."""

    seed: int
    seconds: float
    updates_per_second: int = 25
    names: Sequence[str] = ()


@dataclass
class Fault:
    """``seconds`` is the time until all was well, from the end of the fault on; None if it took WELL_SECONDS."""

    name: str
    at: float
    killed: str = ""
    seconds: float | None = None
    ready: set[str] = field(default_factory=set)
    alerts: set[str] = field(default_factory=set)
    waited_for: str = ""


class Scenario:
    def __init__(self, system: System, direct_api: DirectApi, plan: Plan) -> None:
        self.system, self.plan = system, plan
        self.choice = random.Random(plan.seed)
        self.answers = Answers()
        self.client = Client(system, self.answers)
        updates = generate(self.choice, max(1, int(plan.seconds * plan.updates_per_second)))
        deliveries = updates.bodies * COPIES
        self.choice.shuffle(deliveries)
        choices = [random.Random(self.choice.random()) for _ in range(5)]
        erasures = Erasures(self.client, choices[0], plan.seconds)
        self.loads = Loads(
            updates,
            WebhookLoad(system, self.answers, deliveries, connections=CONNECTIONS, seconds=plan.seconds),
            EmployeeLoad(self.client, updates, direct_api, choices[1], plan.seconds),
            erasures,
            Renames(self.client, choices[2], plan.seconds),
            RolloutLoad(self.client, choices[3], plan.seconds),
        )
        self.readers = Readers(self.client, erasures, list(updates.names), choices[4])
        self.context = Context(system, self.answers, direct_api, self.choice)
        self.kinds = [kind for kind in kinds(system) if not plan.names or kind.name.startswith(tuple(plan.names))]
        self.faults: list[Fault] = []
        self.findings = Findings()
        self.started_at = time.monotonic()

    def run(self, show_progress: Callable[["Scenario"], None]) -> Findings:
        """Run the load and the faults, wait for the recovery, and return the last check."""
        self.started_at = time.monotonic()
        loads: list[Any] = [
            self.loads.webhook,
            self.loads.employees,
            self.loads.erasures,
            self.loads.renames,
            self.loads.rollout,
        ]
        faults = threading.Thread(target=self._inject, daemon=True)
        for part in (self.answers, *loads, self.readers, faults):
            part.start()
        try:
            while faults.is_alive() or any(load.is_running() for load in loads):
                show_progress(self)
                time.sleep(0.1)
            return self._await_recovery(show_progress)
        finally:
            for load in (*loads, self.readers):
                load.is_cancelled = True
            self.answers.stop()

    def _await_recovery(self, show_progress: Callable[["Scenario"], None]) -> Findings:
        started = time.monotonic()
        while True:
            try:
                self.findings = self._find()
            except psycopg.OperationalError as error:
                self.findings = Findings({UNAVAILABLE: [str(error)]})
            waited = time.monotonic() - started
            wrong = self.findings.wrong().keys() & {*WAITED_FOR, ERASED}
            if not wrong or waited > (ERASURE_SECONDS if wrong == {ERASED} else RECOVERY_SECONDS):
                return self.findings
            show_progress(self)
            time.sleep(1.0)

    def _find(self) -> Findings:
        findings = check(self.system, self.loads)
        findings.add("answers of an unexpected kind", self.answers.unexpected)
        findings.add(f"answers after their bound ({BOUNDS} s)", self.answers.late)
        findings.add("names of erased people served", self.readers.served_erased)
        slow = [f"{fault.name}: {fault.waited_for}" for fault in self.faults if fault.seconds is None]
        findings.add(f"faults after which something did not work for {WELL_SECONDS:.0f} s", slow)
        return findings

    def _inject(self) -> None:
        """Inject one fault after the other, each kind once before any is repeated."""
        ends_at = self.started_at + self.plan.seconds
        time.sleep(1.0)
        while True:
            for kind in self.choice.sample(self.kinds, len(self.kinds)):
                if time.monotonic() > ends_at:
                    return
                self._inject_one(kind)

    def _inject_one(self, kind: Kind) -> None:
        began = time.monotonic()
        fault = Fault(kind.name, began - self.started_at)
        with kind.block(self.context):
            if kind.must_work:
                fault.waited_for = self._await_well()[1]
            time.sleep(self.choice.uniform(_SHORTEST, _LONGEST) / 2)
            if not kind.name.startswith("kill") and self.choice.random() < 0.25:
                fault.killed = self.choice.choice(PARTS)
                killing = next(other for other in kinds(self.system) if other.name == f"kill -9 {fault.killed}")
                with killing.block(self.context):
                    pass
            time.sleep(self.choice.uniform(_SHORTEST, _LONGEST) / 2)
        fault.seconds, waited_for = self._await_well()
        if kind.must_work and fault.waited_for:
            fault.seconds = None
        fault.waited_for = fault.waited_for or waited_for
        fault.ready, fault.alerts = self.readers.reported(began)
        self.faults.append(fault)

    def _await_well(self) -> tuple[float | None, str]:
        """Wait until all works; return after how many seconds, None if it did not in time, and what did not work."""
        started = time.monotonic()
        seen: set[object] = set()

        def are_alerts_checked() -> bool:
            seen.add(self._alerts_checked_at())
            return len(seen) > 1

        checks = {
            "/ready is ok": self._is_ready,
            "updates are processed": self._is_update_processed,
            "employees are created": self._is_employee_created,
            "alerts are checked": are_alerts_checked,
        }
        for name, is_well in checks.items():
            while not _attempt(is_well):
                if time.monotonic() - started > WELL_SECONDS:
                    return None, name
                time.sleep(0.1)
        return time.monotonic() - started, ""

    def _is_ready(self) -> bool:
        # Of every process, which the kernel chooses.
        answers = [self.client.request("GET", "/ready", kind="ready") for _ in range(4)]
        return all(answer.status == 200 and json.loads(answer.body)["status"] == "ok" for answer in answers)

    def _is_update_processed(self) -> bool:
        if self.loads.rollout.is_stopped:
            return True
        [body] = generate(random.Random(), 1).bodies
        if self.client.request("POST", PATH, body, kind="webhook").status != 200:
            return False
        time.sleep(0.5)
        with self.system.database() as database:
            query = "SELECT state FROM webhook_inbox WHERE body = %s"
            return self.loads.rollout.is_stopped or database.execute(query, [body]).fetchone() == ("done",)

    def _is_employee_created(self) -> bool:
        phone = f"+7300{random.randrange(10**7):07}"
        body = {"phone": phone, "university_name": "Хаос"}
        return self.client.request("POST", "/employees", body, expected=(201,)).status == 201

    def _alerts_checked_at(self) -> object:
        query = "SELECT at FROM monitoring_sample WHERE name = 'alerts_checked' ORDER BY id DESC LIMIT 1"
        with self.system.database() as database:
            return database.execute(query).fetchone()


def _attempt(check: Callable[[], object]) -> object:
    with suppress(psycopg.Error, redis.RedisError, ValueError):
        return check()
    return None
