"""Reads health, profiles and reports all the time, and remembers what /ready and the alerts reported."""

import json
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.chaos.client import PAUSE_SECONDS, Client
from tests.chaos.people_load import ERASED_PREFIX, Erasures
from tests.chaos.responses import Answer

REPORTS = (
    "/monitoring/profiles/coverage",
    "/monitoring/profiles/quality",
    "/monitoring/webhook/stats?period=hour",
    "/monitoring/webhook-stats",
    "/monitoring/profile-stats",
    "/monitoring/cache-health",
    "/monitoring/rollout",
    "/employees?limit=20",
    "/employees?search=%D0%9F%D1%80%D1%8F%D0%BC%D0%BE%D0%B9",
    "/profiles/stats",
)
_RECENTLY_ERASED = 20


class Readers:
    def __init__(self, client: Client, erasures: Erasures, people: list[str], choice: random.Random) -> None:
        self.client, self.erasures, self.people = client, erasures, people
        self.served_erased: list[str] = []
        self.negative: list[str] = []
        # What was reported, and when, in monotonic seconds.
        self.ready: list[tuple[float, str]] = []
        self.alerts: list[tuple[float, frozenset[str]]] = []
        self.is_cancelled = False
        loops = [self._read_health, self._read_ready, self._read_profile, self._read_erased, self._read_erased]
        loops += [self._read_report, self._read_report, self._read_alerts]
        self._threads = [
            threading.Thread(target=self._repeat, args=[loop, random.Random(choice.random())], daemon=True)
            for loop in loops
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.is_cancelled = True

    def reported(self, since: float) -> tuple[set[str], set[str]]:
        """Return what /ready and the alerts have reported since a time."""
        ready = {text for at, text in self.ready if at >= since}
        return ready, {alert for at, alerts in self.alerts if at >= since for alert in alerts}

    def _repeat(self, read: Callable[[random.Random], object], choice: random.Random) -> None:
        while not self.is_cancelled:
            read(choice)
            time.sleep(PAUSE_SECONDS)

    def _read_health(self, _choice: random.Random) -> None:
        self.client.request("GET", "/health", kind="health")

    def _read_ready(self, _choice: random.Random) -> None:
        self.ready.append((time.monotonic(), summary_of(self.client.request("GET", "/ready", kind="ready"))))

    def _read_profile(self, choice: random.Random) -> None:
        self.client.request("GET", f"/profiles/{choice.choice(self.people)}")

    def _read_erased(self, choice: random.Random) -> None:
        erased = self.erasures.done[-_RECENTLY_ERASED:]
        if erased:
            user_id, _ = choice.choice(erased)
            answer = self.client.request("GET", f"/profiles/{user_id}")
            if ERASED_PREFIX.encode() in answer.body:
                self.served_erased.append(f"{user_id}: {answer.body.decode()}")

    def _read_report(self, choice: random.Random) -> None:
        path = choice.choice(REPORTS)
        answer = self.client.request("GET", path)
        if answer.status == 200:
            self.negative += [f"{path}: {found}" for found in negative_ages(json.loads(answer.body))]

    def _read_alerts(self, _choice: random.Random) -> None:
        answer = self.client.request("GET", "/monitoring/alerts?state=open")
        if answer.status == 200:
            open_ones = frozenset(alert["alert_type"] for alert in json.loads(answer.body)["results"])
            self.alerts.append((time.monotonic(), open_ones))


def negative_ages(report: Any, name: str = "") -> list[str]:
    """Return the numbers below zero in a report that are an age, a duration or a number of pending updates."""
    if isinstance(report, dict):
        return [found for key, value in report.items() for found in negative_ages(value, key)]
    if isinstance(report, list):
        return [found for value in report for found in negative_ages(value, name)]
    is_age = any(word in name for word in ("age", "seconds", "_ms", "lag", "pending"))
    return [f"{name} {report}"] if is_age and isinstance(report, int | float) and report < 0 else []


def summary_of(ready: Answer) -> str:
    """Return the status of an answer of /ready with its reason; the name of the error where there was no answer."""
    if isinstance(ready.status, str):
        return "no answer"
    body = json.loads(ready.body)
    # An age in the reason differs from one answer to the next.
    reason = re.sub(r"[0-9]+", "#", body.get("reason", ""))
    return f"{ready.status} {body['status']}" + (f" ({reason})" if reason else "")
