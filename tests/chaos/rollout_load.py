"""Moves the rollout, pauses it, stops it in an emergency and resumes it, over the API."""

import json
import random
import threading
import time
from typing import Any

import psycopg

from tests.chaos.client import PAUSE_SECONDS, Client
from tests.chaos.employee_load import Created

_REASON = "chaos"
_PHASES = (3, 4)
# A running request was decided before the stop; each process follows within a second or two.
FOLLOW_SECONDS = 4.0


class RolloutLoad:
    """``acknowledged`` has the percentages by phase that each revision was answered with.

    ``stops`` are the times between which an emergency stop was in force for certain, in monotonic seconds.
    """

    def __init__(self, client: Client, choice: random.Random, seconds: float) -> None:
        self.client, self.seconds, self._choice = client, seconds, choice
        self.acknowledged: dict[int, dict[str, float]] = {}
        self.stops: list[tuple[float, float]] = []
        self.is_stopped = self.is_settled = self.is_cancelled = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        started = time.monotonic()
        actions = (self._set, self._set, self._pause_and_resume, self._stop_and_resume)
        while time.monotonic() < started + self.seconds and not self.is_cancelled:
            self._choice.choice(actions)()
            time.sleep(self._choice.uniform(0.5, 3.0))
        # The last change is acknowledged without a fault: it settles what earlier ones without an answer have left.
        self._insist("resume")
        while not (self._set() or self.is_cancelled):
            time.sleep(PAUSE_SECONDS)
        self.is_settled = True

    def _set(self) -> bool:
        phase, percent = self._choice.choice(_PHASES), self._choice.choice([0, 1, 5, 25, 50, 100])
        return self._change("set", phase=phase, percent=percent, force=True)

    def _pause_and_resume(self) -> None:
        self._insist("pause")
        time.sleep(self._choice.uniform(0.0, 2.0))
        self._insist("resume")

    def _stop_and_resume(self) -> None:
        # Processing may be off from the first attempt on, and is on again after the answer to the resume.
        self.is_stopped = True
        self._insist("emergency")
        since = time.monotonic() + FOLLOW_SECONDS
        time.sleep(self._choice.uniform(1.0, FOLLOW_SECONDS + 3.0))
        self.stops.append((since, time.monotonic()))
        self._insist("resume")
        self.is_stopped = False

    def _insist(self, action: str) -> None:
        while not (self._change(action) or self.is_cancelled):
            time.sleep(PAUSE_SECONDS)

    def _change(self, action: str, **fields: Any) -> bool:
        """Send a change; return whether it was acknowledged. An increase is refused while the rollout is paused."""
        body = {"reason": _REASON, **fields}
        answer = self.client.request("POST", f"/monitoring/rollout/{action}", body, expected=(200, 400, 409))
        if answer.status != 200:
            return False
        outcome = json.loads(answer.body)
        self.acknowledged[outcome["revision"]] = outcome["percents"]
        return True


def lost_changes(database: psycopg.Connection, load: RolloutLoad) -> list[str]:
    """Return what the audit log and the flags lack of the acknowledged changes."""
    lost = []
    rows = database.execute(
        "SELECT revision, after->'percents' FROM rollout_change WHERE after ? 'percents'"
    ).fetchall()
    logged = {revision: {name: float(percent) for name, percent in percents.items()} for revision, percents in rows}
    for revision, percents in load.acknowledged.items():
        # A change that changed nothing has the revision of an earlier one.
        if logged.get(revision, percents) != percents:
            lost.append(f"revision {revision}: answered with {percents}, logged {logged[revision]}")
    if load.acknowledged:
        last = load.acknowledged[max(load.acknowledged)]
        flags = database.execute("SELECT name, percent FROM rollout_flag WHERE name = ANY(%s)", [list(last)]).fetchall()
        present = {name: float(percent) for name, percent in flags}
        row = database.execute("SELECT revision FROM rollout_rollout").fetchone()
        if present != last:
            lost.append(f"flags {present} at {row}, the last change was answered with {last}")
        if row is None or row[0] < max(load.acknowledged):
            lost.append(f"revision {row}, acknowledged {max(load.acknowledged)}")
    switches: dict[str, bool] = dict(database.execute("SELECT name, active FROM waffle_switch").fetchall())
    if load.is_settled and (switches.get("emergency_stop") or not switches.get("webhook_processing")):
        lost.append(f"switches {switches} after the resume")
    return lost


def served_while_stopped(load: RolloutLoad, created: list[Created]) -> list[str]:
    """Return the employees that got a name from the cache while an emergency stop was in force everywhere."""
    return [
        f"{employee.row['phone']} has a name from {employee.row['profile_source']}"
        for employee in created
        if employee.row["profile_source"] in ("webhook", "user_input")
        and any(since <= employee.sent_at and employee.answered_at <= until for since, until in load.stops)
    ]
