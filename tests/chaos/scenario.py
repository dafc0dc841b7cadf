"""Sends updates, employees, erasures and changes of the rollout to a system under faults, and checks every promise."""

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
import redis

from tests.chaos.checks import ERASED, UNAVAILABLE, WAITED_FOR, Findings, Loads, check
from tests.chaos.client import Client
from tests.chaos.employee_load import EmployeeLoad
from tests.chaos.fake_direct_api import DirectApi
from tests.chaos.faults import LATE_CHECK, Context, Kind, kinds
from tests.chaos.people_load import Erasures, Renames
from tests.chaos.readers import Readers
from tests.chaos.responses import BOUNDS, Answers
from tests.chaos.rollout_load import RolloutLoad
from tests.chaos.system import PARTS, PROGRAMS, System
from tests.chaos.updates import generate
from tests.chaos.webhook_load import PATH, WebhookLoad

COPIES = 4
CONNECTIONS = 8
# How long to wait at most, from the end of a fault, until everything works again.
WELL_SECONDS = 30.0
# From the moment on in which the stores accept writes again: requests and updates (the requirement), and a check of the
# alerts, which is made every two seconds by a worker that may have to connect again first.
SERVICE_SECONDS, CHECK_SECONDS = 5.0, 15.0
# The supervisor restarts a process that dies again and again after five seconds, and it has to be loaded.
RESTART_SECONDS = 15.0
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
class Recovery:
    """Seconds from the end of a fault until the stores accepted writes, and from then until all else worked.

    ``service`` is about requests and updates, ``check`` about alerts; None if it took WELL_SECONDS. ``waited_for`` is
    what did not work then. ``parts`` has the seconds that each part of it took, one after the other.
    """

    stores: float = 0.0
    service: float | None = None
    check: float | None = None
    waited_for: str = ""
    parts: dict[str, float] = field(default_factory=dict)


@dataclass
class Fault:
    """``meanwhile`` is the recovery while the fault lasted, if everything must work then."""

    name: str
    at: float
    killed: str = ""
    recovery: Recovery = field(default_factory=Recovery)
    meanwhile: Recovery | None = None
    ready: set[str] = field(default_factory=set)
    alerts: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)

    def late(self) -> list[str]:
        """Return what worked again too late."""
        restarts = self.killed in PROGRAMS or self.name.removeprefix("kill -9 ") in PROGRAMS
        found = []
        for when, recovery in {"after": self.recovery, "during": self.meanwhile}.items():
            if recovery is None:
                continue
            if recovery.waited_for:
                found.append(f"{when} {self.name}: {recovery.waited_for}, never")
            bounds = {"service": SERVICE_SECONDS, "check": CHECK_SECONDS}
            for name, bound in bounds.items():
                seconds, most = getattr(recovery, name), bound + (RESTART_SECONDS if restarts else 0)
                if seconds is not None and seconds > most:
                    parts = ", ".join(f"{title} {took:.1f} s" for title, took in recovery.parts.items())
                    killed = self.killed or "nothing"
                    found.append(f"{when} {self.name}, kill -9 {killed}: {name} {seconds:.1f} s ({parts})")
        return found


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
        # The web server is ready before the other processes have been loaded.
        while self._await_well().waited_for:
            pass
        self.answers.forget()
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
        findings.add("negative ages", self.readers.negative)
        findings.add("what worked again too late", [text for fault in self.faults for text in fault.late()])
        return findings

    def _broken(self) -> list[str]:
        """Return what has been answered wrongly or late until now."""
        return [*self.answers.unexpected, *self.answers.late, *self.readers.served_erased, *self.readers.negative]

    def _inject(self) -> None:
        """Inject one fault after the other, each kind once before any is repeated."""
        ends_at = self.started_at + self.plan.seconds
        while True:
            for kind in self.choice.sample(self.kinds, len(self.kinds)):
                if time.monotonic() > ends_at:
                    return
                self._inject_one(kind)

    def _inject_one(self, kind: Kind) -> None:
        began, broken = time.monotonic(), self._broken()
        fault = Fault(kind.name, began - self.started_at)
        with kind.block(self.context):
            if kind.must_work:
                fault.meanwhile = self._await_well(kind.may_say)
            time.sleep(self.choice.uniform(_SHORTEST, _LONGEST) / 2)
            if not kind.name.startswith("kill") and self.choice.random() < 0.25:
                fault.killed = self.choice.choice(PARTS)
                killing = next(other for other in kinds(self.system) if other.name == f"kill -9 {fault.killed}")
                with killing.block(self.context):
                    pass
            time.sleep(self.choice.uniform(_SHORTEST, _LONGEST) / 2)
        fault.recovery = self._await_well()
        fault.ready, fault.alerts = self.readers.reported(began)
        fault.broken = [text for text in self._broken() if text not in broken]
        self.faults.append(fault)

    def _await_well(self, may_say: str = "") -> Recovery:
        """Wait until all works, and return when it did; /ready may be degraded for the reason ``may_say``.

        That alerts were not checked belongs to the check, which is made after all others.
        """
        recovery, started = Recovery(), time.monotonic()
        seen: set[object] = set()

        def are_alerts_checked() -> bool:
            seen.add(self._alerts_checked_at())
            return len(seen) > 1

        checks: dict[str, tuple[str, Callable[[], object]]] = {
            "stores": ("the stores", self._accept_writes),
            "ready": ("/ready", partial(self._is_ready, LATE_CHECK)),
            "update": ("the processing of updates", self._is_update_processed),
            "service": ("creates", self._is_employee_created),
            "check": ("the check of alerts", lambda: are_alerts_checked() and self._is_ready(may_say)),
        }
        for name, (title, is_well) in checks.items():
            began = time.monotonic()
            while not _attempt(is_well):
                if time.monotonic() - started > WELL_SECONDS:
                    recovery.waited_for = title
                    return recovery
                _attempt(are_alerts_checked)
                time.sleep(0.1)
            recovery.parts[title] = time.monotonic() - began
            _attempt(are_alerts_checked)
            if name in ("stores", "service", "check"):
                earlier = 0.0 if name == "stores" else recovery.stores
                setattr(recovery, name, time.monotonic() - started - earlier)
        return recovery

    def _accept_writes(self) -> bool:
        with self.system.database() as database, database.transaction(force_rollback=True):
            database.execute("CREATE TEMPORARY TABLE probe ()")
        return bool(self.system.cache().set("chaos:probe", 1, px=1))

    def _is_ready(self, may_say: str) -> bool:
        # Of every process, which the kernel chooses.
        answers = [self.client.request("GET", "/ready", kind="ready") for _ in range(4)]
        bodies = [json.loads(answer.body) for answer in answers if answer.status == 200]
        reasons = {body.get("reason", "") for body in bodies if body["status"] != "ok"}
        return len(bodies) == len(answers) and all(may_say and reason.startswith(may_say) for reason in reasons)

    def _is_update_processed(self) -> bool:
        if self.loads.rollout.is_stopped:
            return True
        [body] = generate(random.Random(), 1).bodies
        if self.client.request("POST", PATH, body, kind="webhook").status != 200:
            return False
        query, ends_at = "SELECT state FROM webhook_inbox WHERE body = %s", time.monotonic() + 2.0
        with self.system.database() as database:
            while database.execute(query, [body]).fetchone() != ("done",) and not self.loads.rollout.is_stopped:
                if time.monotonic() > ends_at:
                    return False
                time.sleep(0.02)
        return True

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
