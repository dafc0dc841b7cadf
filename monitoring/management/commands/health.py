"""``manage.py health``: a line a component; exits 1 while one of them is down."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from config.dev.launch import Launch
from monitoring.alerts.freshness import is_fresh
from monitoring.alerts.kinds import Severity
from monitoring.alerts.models import Alert
from monitoring.indicators import rounds
from monitoring.indicators.models import Level
from monitoring.indicators.rounds import Readings
from monitoring.management.commands.validate import refuse_no_address
from profiles.rollout.decision import is_processing
from profiles.rollout.heartbeat import convergence

# Up or down, and a few words.
ItemStatus = tuple[bool, str]
_WRONG = {"alerts": "OPEN"}


class Command(BaseCommand):
    help = "Tell how each component is: web server, stores, schema, processes, inbox, rollout, alerts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", help="where the web server is [that of DATA_DIR's `make run`]")

    def handle(self, *args: Any, url: str | None, **options: Any) -> None:
        refuse_no_address(url)
        down = []
        for name, (is_up, words) in self._lines(url):
            self.stdout.write(f"{name:<12}{'ok' if is_up else _WRONG.get(name, 'DOWN'):<6}{words}")
            self.stdout.flush()
            if not is_up:
                down.append(name)
        if down:
            raise CommandError(f"Not healthy: {', '.join(down)}")

    def _lines(self, url: str | None) -> Iterator[tuple[str, ItemStatus]]:
        yield "web", _web(url)
        readings = _readings()
        for name, look in _LOOKS.items():
            try:
                yield name, look(readings)
            except DatabaseError as error:
                yield name, (False, f"PostgreSQL does not answer: {type(error).__name__}")


def _readings() -> Readings:
    """Return a fresh round, or what can be measured where none can be stored: the tables may be another release's."""
    try:
        return rounds.fresh().readings
    except DatabaseError:
        return rounds.measure(["migrations_missing", "redis_connected", "inbox_lag"])


def _web(url: str | None) -> ItemStatus:
    launch = Launch.from_environment()
    answers = [f"{path} {launch.request_status(path, url)}" for path in ("/health", "/ready")]
    return answers[1].startswith("/ready 200"), f"{url or launch.url}: {', '.join(answers)}"


def _postgresql(readings: Readings) -> ItemStatus:
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        version = cursor.fetchone()[0]
    return True, f"{version}, {1000 * (time.perf_counter() - started):.1f} ms"


def _schema(readings: Readings) -> ItemStatus:
    reading = readings["migrations_missing"]
    return reading.is_ok, f"{reading.sentence}; run migrate" if reading.is_broken else str(reading.sentence)


def _redis(readings: Readings) -> ItemStatus:
    reading = readings["redis_connected"]
    if not reading.is_ok:
        return False, str(reading.data.get("last_error") or reading.sentence)
    health = reading.data
    used, limit = ((health[name] or 0) / 2**20 for name in ("used_memory_bytes", "maxmemory_bytes"))
    memory = f"{used:.1f} of {limit:.0f} MB" if limit else f"{used:.1f} MB"
    return True, f"profiles: {health['cached_profiles']}, {memory}, {health['latency_ms']:.1f} ms"


def _broker(readings: Readings) -> ItemStatus:
    if not settings.CELERY_BROKER_URL.startswith(("redis://", "rediss://", "redis+socket://")):
        return True, "not a Redis: not asked"
    url = settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    try:
        return True, f"tasks that wait: {client.llen('celery')}"
    except redis.RedisError as error:
        return False, type(error).__name__


def _processes(kind: str) -> ItemStatus:
    spread = convergence()
    count = sum(process.partition("-")[0] == kind for process in (*spread.reached, *spread.behind))
    return count > 0, f"{count} living"


def _beat(readings: Readings) -> ItemStatus:
    is_up, words = _processes("beat")
    return (is_up, words) if is_up else (is_fresh(), "alerts checked lately" if is_fresh() else "no sign of life")


def _inbox_lag(readings: Readings) -> ItemStatus:
    """Return whether the inbox is slow enough to wake somebody."""
    reading = readings["inbox_lag"]
    words = f"{reading.sentence}; updates that wait: {reading.data.get('pending_events', 0)}"
    is_up = reading.level not in (Level.CRITICAL, Level.ERROR)
    return is_up, words if is_processing() else f"{words}; processing is off"


def _rollout(readings: Readings) -> ItemStatus:
    spread = convergence()
    words = f"processes at revision {spread.revision}: {len(spread.reached)} of {spread.living}"
    return spread.is_complete, words


def _alerts(readings: Readings) -> ItemStatus:
    """An alert that is critical is no health, whatever else is up."""
    found = Alert.objects.open().order_by("kind")
    words = ", ".join(f"{alert.kind} ({alert.severity})" for alert in found)
    return all(alert.severity != Severity.CRITICAL for alert in found), words or "none open"


_LOOKS: dict[str, Callable[[Readings], ItemStatus]] = {
    "postgresql": _postgresql,
    "schema": _schema,
    "redis": _redis,
    "broker": _broker,
    "inbox": lambda _readings: _processes("inbox"),
    "worker": lambda _readings: _processes("worker"),
    "beat": _beat,
    "inbox lag": _inbox_lag,
    "rollout": _rollout,
    "alerts": _alerts,
}
