"""``manage.py health``: print a line per component; exits with 1 if a component is down or a critical alert is open."""

import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError, connection

from config import broker
from config.dev.launch import Launch
from config.lib import redis_connection
from config.lib.commands import BaseCommand
from config.postgres.base import statement_deadline
from monitoring.alerts.engine import last_check
from monitoring.alerts.kinds import Severity
from monitoring.alerts.models import Alert
from monitoring.indicators import rounds
from monitoring.indicators.models import Level
from monitoring.indicators.rounds import Readings
from monitoring.management.commands.validate import refuse_no_address
from profiles import failures
from profiles.rollout.decision import is_processing
from profiles.rollout.heartbeat import convergence

# In seconds: a lock or a silent PostgreSQL must not hide what else is down.
_ROUND_SECONDS, _CHECK_SECONDS = 10.0, 3.0
# Whether the component is up, and the details to print.
Status = tuple[bool, str]


class Command(BaseCommand):
    help = "Check each component: web server, stores, schema, processes, inbox, rollout and alerts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", help="address of the web server [that of `make run` with this DATA_DIR]")

    def handle(self, *args: Any, url: str | None, **options: Any) -> None:
        refuse_no_address(url)
        down = []
        for name, (is_up, details) in _statuses(url):
            state = "ok" if is_up else "OPEN" if name == "alerts" else "DOWN"
            self.stdout.write(f"{name:<12}{state:<6}{details}")
            self.stdout.flush()
            if not is_up:
                down.append(name)
        if down:
            raise CommandError(f"Not healthy: {', '.join(down)}")


def _statuses(url: str | None) -> Iterator[tuple[str, Status]]:
    launch = Launch.from_environment()
    answers = [f"{path} {launch.request_status(path, url)}" for path in ("/health", "/ready")]
    yield "web", (answers[1].startswith("/ready 200"), f"{url or launch.url}: {', '.join(answers)}")
    try:
        with statement_deadline(_ROUND_SECONDS):
            readings = rounds.fresh().readings
    except DatabaseError:
        # The schema may be that of another release, or a table is locked: measure without the stored readings.
        with statement_deadline(_CHECK_SECONDS):
            readings = rounds.measure(["migrations_missing", "redis_connected", "inbox_lag", "direct_api_served"])
    for name, check in _CHECKS.items():
        try:
            with statement_deadline(_CHECK_SECONDS):
                result = check(readings)
            yield name, result
        except DatabaseError as error:
            yield name, (False, f"PostgreSQL does not answer: {type(error).__name__}")


def _postgresql(readings: Readings) -> Status:
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        version = cursor.fetchone()[0]
    details = f"{version}, {1000 * (time.perf_counter() - started):.1f} ms"
    # Measured now: the round may be waiting for the same lock.
    lock = rounds.measure(["blocking_session"])["blocking_session"]
    return not lock.is_broken, f"{details}; {lock.sentence}" if lock.is_broken else details


def _schema(readings: Readings) -> Status:
    return readings["migrations_missing"].is_ok, str(readings["migrations_missing"].sentence)


def _redis(readings: Readings) -> Status:
    reading, health = readings["redis_connected"], readings["redis_connected"].data
    if not reading.is_ok:
        return False, str(reading.sentence)
    used, limit = ((health[name] or 0) / 2**20 for name in ("used_memory_bytes", "maxmemory_bytes"))
    memory = f"{used:.1f} of {limit:.0f} MB" if limit else f"{used:.1f} MB"
    return True, f"profiles: {health['cached_profiles']}, {memory}, {health['latency_ms']:.1f} ms"


def _broker(readings: Readings) -> Status:
    if not settings.CELERY_BROKER_URL.startswith(("redis", "unix")):
        return True, "not checked: the broker is not Redis"
    try:
        with redis_connection.client(settings.CELERY_BROKER_URL, seconds=2) as client:
            return True, f"queued tasks: {broker.queue_length(client)}"
    except redis.RedisError as error:
        name = redis_connection.error_name(error)
        return False, f"{failures.message_for(name)} ({name})"


def _processes(kind: str, readings: Readings) -> Status:
    status = convergence()
    count = sum(process.partition("-")[0] == kind for process in (*status.reached, *status.behind))
    if kind == "beat" and not count:
        is_running = last_check().is_running
        return is_running, "alerts were checked lately" if is_running else "no heartbeat"
    return count > 0, f"processes: {count}"


def _inbox_lag(readings: Readings) -> Status:
    """Report the inbox as down if its lag is critical or cannot be measured; a warning is not enough."""
    reading = readings["inbox_lag"]
    details = f"{reading.sentence}; pending updates: {reading.data.get('pending_events', 0)}"
    is_up = reading.level not in (Level.CRITICAL, Level.ERROR)
    return is_up, details if is_processing() else f"{details}; processing is off"


def _direct_api(readings: Readings) -> Status:
    reading = readings["direct_api_served"]
    return reading.level in (Level.OK, Level.UNKNOWN), str(reading.sentence)


def _rollout(readings: Readings) -> Status:
    status = convergence()
    details = f"processes at revision {status.revision}: {len(status.reached)} of {status.living}"
    cut_off = f"; hosts that are cut off: {', '.join(status.cut_off)}" if status.cut_off else ""
    return status.is_complete and not cut_off, f"{details}{cut_off}"


def _alerts(readings: Readings) -> Status:
    alerts = Alert.objects.open().order_by("kind")
    details = ", ".join(f"{alert.kind} ({alert.severity})" for alert in alerts)
    check = last_check()
    is_up = not check.is_late and all(alert.severity != Severity.CRITICAL for alert in alerts)
    return is_up, f"{check.warning()}; open then: {details or 'none'}" if check.is_late else details or "none open"


_CHECKS: dict[str, Callable[[Readings], Status]] = {
    "postgresql": _postgresql,
    "schema": _schema,
    "redis": _redis,
    "broker": _broker,
    "inbox": partial(_processes, "inbox"),
    "worker": partial(_processes, "worker"),
    "beat": partial(_processes, "beat"),
    "inbox lag": _inbox_lag,
    "direct api": _direct_api,
    "rollout": _rollout,
    "alerts": _alerts,
}
