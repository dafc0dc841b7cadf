"""Every surface shows the same value and level of an indicator at the same moment.

What a surface shows is compared with the stored reading, in a world where all is well, one where each limit is broken
(new indicators must be broken there too), one without data and one without Redis.
"""

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings
from redis import Redis

from config.postgres import locks
from employees.models import BackfillRun, Employee, University
from monitoring import operations_report
from monitoring.alerts import engine
from monitoring.alerts.kinds import CHECKS
from monitoring.alerts.models import Alert
from monitoring.indicators import measurements, rounds
from monitoring.indicators.definitions import INDICATORS, Indicator
from monitoring.indicators.models import IndicatorReading, Level, Round, RoundTrip
from monitoring.rollout_control import gates
from monitoring.rollout_control.gates import GateResult
from monitoring.rollout_control.guide import checklist
from monitoring.rollout_control.labels import INDICATOR_OF
from monitoring.rollout_control.models import Verdict
from profiles import cache
from tests.conftest import Phases
from tests.monitoring.alert_causes import NOON, URL
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from tests.rollout.changing import change
from tests.webhooks.fake_platform import TOKEN, FakePlatform, fake_platform
from tests.webhooks.inbox_rows import row
from webhooks.models import State

# One worker of `pytest -n` collects what the surfaces show.
pytestmark = pytest.mark.xdist_group("surfaces")

MINUTE = timedelta(minutes=1)
VERDICTS = {
    Level.OK: Verdict.PASS,
    Level.WARNING: Verdict.FAIL,
    Level.CRITICAL: Verdict.FAIL,
    Level.UNKNOWN: Verdict.INCONCLUSIVE,
    Level.ERROR: Verdict.ERROR,
}


@dataclass
class World:
    """``health`` is the report of Redis, ``refused`` the number of requests with a wrong secret."""

    settings: Settings
    platform: FakePlatform
    clock: time_machine.Traveller
    health: dict[str, Any]
    refused: list[int] = field(default_factory=lambda: [0])
    missing: list[str] = field(default_factory=list)
    blockers: list[locks.Session] = field(default_factory=list)


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch, redis: Redis, university: University) -> Iterator[World]:
    settings.DEBUG, settings.WEBHOOK_SECRETS = True, [b"right"]
    with fake_platform() as platform, time_machine.travel(NOON, tick=False) as clock:
        settings.MAX_API_URL, settings.MAX_BOT_TOKEN, settings.WEBHOOK_PUBLIC_URL = platform.url, TOKEN, URL
        platform.sends_to(URL)
        made = World(settings, platform, clock, cache.health() | {"evicted_keys": 0, "cached_profiles": 1000})
        monkeypatch.setattr(cache, "health", lambda: made.health)
        monkeypatch.setattr(measurements, "unapplied_migrations", lambda: made.missing)
        monkeypatch.setattr(locks, "blocking_session", lambda: next(iter(made.blockers), None))
        monkeypatch.setattr(measurements, "counted", lambda name: {("401",): made.refused[0]})
        Employee.objects.create(phone="+79160000001", max_id="1", university=university)
        for number in range(1, 11):
            add_profile(str(number), age=timedelta(days=1))
            cache.read(str(number))
        rounds.take_round()
        yield made


def well(world: World) -> None:
    for minutes in reversed(range(30)):
        row(State.DONE, minutes * MINUTE)
    RoundTrip.objects.create(took_ms=12.0)
    compared(1000)
    BackfillRun.objects.create(until_id=10)


def bad(world: World) -> None:
    """Break the limit of every indicator that has one."""
    world.clock.shift(5 * MINUTE)
    world.health |= {"evicted_keys": 400}
    cache.store_progress({"revision": 1_000_000, "erasures": 0})
    world.refused[0], world.missing = 50, ["employees.0100_guarded_way_back"]
    world.blockers.append(locks.Session(4711, "psql", "idle in transaction", 90.0))
    world.settings.WEBHOOK_SECRETS = []
    world.settings.MAX_API_USERS_PATH = "/internal/none"
    world.platform.subscriptions.clear()
    world.platform.sends_to("https://directory.example.ru:8443/webhook/max")
    row(State.PENDING, timedelta(hours=7))
    row(State.QUARANTINED, timedelta(hours=8))
    row(State.DEAD, timedelta(hours=8))
    RoundTrip.objects.create(error="not processed in time; check that the inbox worker is running")
    for number in range(1, 11):
        add_profile(f"empty {number}", None, "", age=timedelta(days=31))
    compared(1000)
    compared(500, "conflict", university_id=7)
    change("pause", by="t", reason="names are mixed up")
    run = BackfillRun.objects.create(until_id=10)
    run.batches.create(status="failed", after_id=0, until_id=10)


def silent(world: World) -> None:
    """Leave nothing to measure: no updates, no comparisons, no lookups."""


def gone(world: World) -> None:
    world.health |= {"redis_connected": False, "last_error": "info: ConnectionError"}


WORLDS = {"well": well, "bad": bad, "silent": silent, "gone": gone}
# These have no limit.
INFORMATIONAL = {name for name, indicator in INDICATORS.items() if not indicator.comparison}
# Broken in another world, or in none: monitoring that is off judges nothing, and only hands break an index.
ELSEWHERE = {"redis_connected", "monitoring_on", "source_index_valid"}


@dataclass
class Surfaces:
    readings: Round
    alerts: dict[str, Alert]
    verdicts: dict[str, GateResult]
    items: dict[str, tuple[bool, str]]
    metrics: dict[str, float]
    health: str
    home: Any
    cache: Any
    pages: str
    report: dict[str, Any]


@pytest.fixture
def surfaces(request: pytest.FixtureRequest) -> Surfaces:
    """Return what all surfaces show of a world, collected once for all indicators."""
    if request.param not in _collected:
        fixtures = (request.getfixturevalue(name) for name in ("world", "client", "superadmin", "phases"))
        _collected[request.param] = collect(request.param, *fixtures)
    return _collected[request.param]


_collected: dict[str, Surfaces] = {}


def collect(name: str, world: World, client: Client, superadmin: User, phases: Phases) -> Surfaces:
    """Read every surface; the clock stands still meanwhile."""
    phases(100, 100, 25)
    WORLDS[name](world)
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    engine.check_alerts()
    found = {result.gate: result for phase in (1, 2, 3) for result in gates.evaluate(phase, Decimal(50)).results}
    found |= {result.gate: result for phase in (2, 3) for result in gates.check_tripwires(phase).results}
    home, page = client.get("/admin/live/home/"), client.get("/admin/live/rollout/").content.decode()
    reports = {period: made() for period, made in operations_report.PERIODS.items()}
    return Surfaces(
        readings=rounds.latest(),
        alerts={CHECKS[alert.kind].indicator: alert for alert in Alert.objects.open()},  # type: ignore[index]
        verdicts={INDICATOR_OF[gate]: result for gate, result in found.items() if gate in INDICATOR_OF},
        items={status.name: (status.is_done, status.message) for status in checklist.checklist_status(rounds.latest())},
        metrics=metrics(client),
        health=health(),
        home=home.context,
        cache=client.get("/admin/live/cache/").context["cache"],
        pages=home.content.decode() + page,
        report={name: value for made in reports.values() for table in made.tables for name, value in table.rows},
    )


def metrics(client: Client) -> dict[str, float]:
    families = text_string_to_metric_families(client.get("/metrics").content.decode())
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in families
        for sample in family.samples
    }


def health() -> str:
    out = io.StringIO()
    with suppress(CommandError):
        call_command("health", "--url", "http://127.0.0.1:1", stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    "surfaces",
    ["well", "bad", *(pytest.param(name, marks=pytest.mark.integration) for name in ("silent", "gone"))],
    indirect=True,
)
def test_each_surface_shows_the_same(surfaces: Surfaces) -> None:
    for name, indicator in INDICATORS.items():
        reading = surfaces.readings[name]
        assert surfaces.metrics.get(f"indicator_value{{{name}}}") == reading.value, name
        assert surfaces.metrics[f"indicator_level{{{name}}}"] == list(Level).index(Level(reading.level)), name
        check_alert(surfaces.alerts.get(name), reading)
        check_gate(surfaces.verdicts.get(name), reading, indicator)
        for item, (is_done, how) in surfaces.items.items():
            if ITEMS.get(item) == name:
                assert (is_done, how) == (reading.is_ok, str(reading.sentence)), item
        for surface, shown in SHOWN.get(name, {}).items():
            assert shown(surfaces) == expected(surface, reading), (name, surface)


def check_alert(alert: Alert | None, reading: IndicatorReading) -> None:
    checks = [check for check in CHECKS.values() if check.indicator == reading.name]
    if not checks:
        return
    fires = reading.level == Level.CRITICAL or (reading.level == Level.WARNING and checks[0].level == Level.WARNING)
    assert (alert is not None) == fires
    if alert is not None:
        assert alert.severity == ("critical" if reading.level == Level.CRITICAL else "warning")
        if "current_rate" in alert.data:
            assert (alert.data["current_rate"], alert.data["threshold"]) == (
                pytest.approx(reading.value, abs=1e-4),
                reading.warning_limit,
            )
        assert {field: alert.data[field] for field in alert.data if field in reading.data} == {
            field: reading.data[field] for field in alert.data if field in reading.data
        }


def check_gate(result: GateResult | None, reading: IndicatorReading, indicator: Indicator) -> None:
    if result is None:
        return
    assert (result.raw or result.verdict) == VERDICTS[Level(reading.level)]
    if reading.level == Level.UNKNOWN and indicator.least > 1:
        assert (result.value, result.limit) == (reading.n, indicator.least)
    else:
        assert (result.value, result.limit) == (reading.value, reading.warning_limit)
    assert str(result.message).startswith(str(reading.sentence))


ITEMS = {
    "environment": "webhook_secret_set",
    "migrations": "migrations_missing",
    "health": "redis_connected",
    "webhook_endpoint": "round_trip",
    "sources": "source_index_valid",
    "performance": "monitoring_on",
    "cache_tuning": "evictions",
    "quality": "profile_quality",
    "system_performance": "webhook_error_rate",
}


def line(surfaces: Surfaces, component: str) -> str:
    return next(text for text in surfaces.health.splitlines() if text.startswith(f"{component:<12}"))[12:]


def percent(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:.2f}%"


def expected(surface: str, reading: IndicatorReading) -> Any:
    """Return what a surface has to show of a reading, in the surface's own form."""
    value = reading.value
    return {
        "metric": value if value is not None else 0.0,
        "metric of 100": None if value is None else pytest.approx(100 * value),
        "metric of ms": None if value is None else pytest.approx(value / 1000),
        "total": reading.data.get("total_dead_letters"),
        "report": value,
        "report, count": int(value or 0),
        "health is up": reading.level not in (Level.CRITICAL, Level.ERROR),
        "health, ok": reading.is_ok,
        "health, words": str(reading.sentence),
        "home": value,
        "home, bad": reading.is_broken,
        "home, critical": reading.level == Level.CRITICAL,
        "home of 100": None if value is None else pytest.approx(100 * value),
    }[surface]


SHOWN: dict[str, dict[str, Any]] = {
    "migrations_missing": {
        "health, ok": lambda all_: line(all_, "schema").startswith("ok"),
        "health, words": lambda all_: line(all_, "schema")[6:],
    },
    "redis_connected": {
        "metric": lambda all_: all_.metrics["cache_connection_status{}"],
        "health, ok": lambda all_: line(all_, "redis").startswith("ok"),
        "home": lambda all_: float(all_.home["cache"]["redis_connected"]),
    },
    "blocking_session": {
        "health, ok": lambda all_: line(all_, "postgresql").startswith("ok"),
    },
    "inbox_lag": {
        "metric": lambda all_: all_.metrics["webhook_inbox_lag_seconds{}"],
        "health is up": lambda all_: line(all_, "inbox lag").startswith("ok"),
        "health, words": lambda all_: line(all_, "inbox lag")[6:].partition(";")[0],
        "home, critical": lambda all_: all_.home["inbox"]["exceeded_limit"] is not None,
    },
    "inbox_pending": {
        "metric": lambda all_: all_.metrics["webhook_inbox_pending{}"],
        "home": lambda all_: all_.home["inbox"]["size"],
        "report, count": lambda all_: all_.report["pending_updates"],
    },
    "webhook_error_rate": {
        "home": lambda all_: all_.home["errors"].value,
        "home, bad": lambda all_: bool(
            re.search(r"Error rate, [^<]*</span><b class=\"s-number s-text-bad", all_.pages)
        ),
    },
    "dead_letters": {
        "total": lambda all_: all_.metrics["webhook_dead_letters{}"],
    },
    "evictions": {
        "home": lambda all_: all_.cache["evictions"].value,
        "home, bad": lambda all_: all_.cache["evictions"].is_broken,
    },
    "cache_hit_rate": {
        "home of 100": lambda all_: all_.home["cache"]["hit_percent"],
        "report": lambda all_: all_.report["cache_hit_rate"],
    },
    "cache_latency": {"metric of ms": lambda all_: all_.metrics.get("cache_latency_seconds{}")},
    "profile_quality": {
        "metric of 100": lambda all_: all_.metrics["profile_quality_score{}"],
        "report": lambda all_: all_.report["profile_quality"],
    },
    "profile_completeness": {
        "metric of 100": lambda all_: all_.metrics["profile_completeness_rate{}"],
        "report": lambda all_: all_.report["profile_completeness"],
    },
    "profile_freshness": {"report": lambda all_: all_.report["profile_freshness"]},
    "coverage": {"report": lambda all_: all_.report["coverage"]},
    "rollout_held": {"metric": lambda all_: all_.metrics["rollout_held{}"]},
    "backfill_failed_batches": {"metric": lambda all_: all_.metrics["backfill_failed_batches{}"]},
}


@pytest.mark.parametrize("surfaces", ["bad"], indirect=True)
def test_each_limit_is_broken_in_the_bad_world(surfaces: Surfaces) -> None:
    """Without this the test above could miss an alert or a failing gate."""
    healthy = {name for name in INDICATORS if not surfaces.readings[name].is_broken}
    assert healthy == INFORMATIONAL | ELSEWHERE


@pytest.mark.parametrize("surfaces", ["well"], indirect=True)
def test_nothing_is_broken_in_the_well_world(surfaces: Surfaces) -> None:
    assert [name for name in INDICATORS if not surfaces.readings[name].is_ok] == []
