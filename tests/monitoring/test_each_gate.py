"""Each gate of docs/reference/rollout.md alone: what it requires, and what makes it fail."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
import time_machine
from django.db import connection
from django.db.models import F
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis import Redis

from monitoring.indicators.definitions import LAG_LIMIT_SECONDS
from monitoring.indicators.models import RoundTrip
from monitoring.rollout_control import controller, gates
from monitoring.rollout_control.models import Verdict
from profiles.models import Comparison
from profiles.rollout.models import Rollout
from tests.conftest import Phases
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from tests.rollout.changing import change
from tests.servers import FaultyServer
from webhooks.models import InboxUpdate, State

# A Wednesday in working hours, so that silence means something.
NOON = datetime(2026, 11, 25, 9, tzinfo=UTC)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def result_of(phase: int, gate: str, target: int = 100) -> tuple[Verdict, str]:
    result = {result.gate: result for result in gates.evaluate(phase, Decimal(target)).results}[gate]
    return result.verdict, str(result.message)


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def arrived(ago: timedelta, took: timedelta = timedelta(), state: State = State.DONE) -> None:
    at = timezone.now() - ago
    InboxUpdate.objects.create(
        dedup_key=str(InboxUpdate.objects.count()).encode(),
        update_type="bot_started",
        state=state,
        received_at=at,
        next_try_at=at,
        finished_at=None if state == State.PENDING else at + took,
    )


@pytest.fixture
def installed(phases: Phases, settings: Settings) -> Settings:
    settings.WEBHOOK_SECRETS = [b"secret"]
    return settings


@pytest.mark.long
def test_phase_1_asks_for_what_was_installed(installed: Settings) -> None:
    assert {result.verdict for result in gates.evaluate(1, Decimal(100)).results} == {Verdict.PASS}
    installed.WEBHOOK_SECRETS = []
    assert result_of(1, "secret_set") == (Verdict.FAIL, "WEBHOOK_SECRET is not set")
    run("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_employees_profile_source'::regclass")
    assert result_of(1, "index_valid")[0] == Verdict.FAIL
    run("DELETE FROM django_migrations WHERE app = 'employees' AND name LIKE '0101%'")
    assert result_of(1, "migrated") == (Verdict.FAIL, "unapplied migrations: 1; run migrate")
    installed.MONITORING_ENABLED = False
    assert result_of(1, "monitoring_on") == (Verdict.INCONCLUSIVE, "monitoring is off")


def test_phase_1_asks_for_redis(installed: Settings, redis_server: FaultyServer) -> None:
    redis_server.kill()
    verdict, message = result_of(1, "redis_answers")
    assert verdict == Verdict.FAIL
    assert message.startswith("Redis is unavailable")


def test_phase_2_asks_for_a_quick_inbox(installed: Settings, phases: Phases) -> None:
    phases(100)
    assert result_of(2, "inbox_lag") == (Verdict.INCONCLUSIVE, "no updates in the last 10 minutes")
    arrived(timedelta(minutes=1), took=timedelta(seconds=1))
    assert result_of(2, "inbox_lag") == (Verdict.PASS, "inbox lag 1.0 s")
    arrived(timedelta(seconds=2 * LAG_LIMIT_SECONDS), state=State.PENDING)
    assert result_of(2, "inbox_lag")[0] == Verdict.FAIL


def test_a_replay_is_not_a_slow_inbox(installed: Settings, phases: Phases) -> None:
    phases(100)
    arrived(timedelta(minutes=9))
    InboxUpdate.objects.update(body=b"{}")
    with time_machine.travel(timezone.now(), tick=False):
        InboxUpdate.objects.all().replay(by="t", reason="r", selection="all")
        assert result_of(2, "inbox_lag") == (Verdict.PASS, "inbox lag 0.0 s")
    InboxUpdate.objects.update(state=State.DONE, finished_at=F("next_try_at") + timedelta(seconds=2))
    assert result_of(2, "inbox_lag") == (Verdict.PASS, "inbox lag 2.0 s")


def test_phase_2_asks_for_few_errors(installed: Settings, phases: Phases) -> None:
    phases(100)
    assert result_of(2, "webhook_errors")[0] == Verdict.INCONCLUSIVE
    for number in range(20):
        arrived(timedelta(minutes=number), state=State.DONE if number else State.DEAD)
    # The limit of 5% is not exceeded yet.
    assert result_of(2, "webhook_errors")[0] == Verdict.PASS
    arrived(timedelta(minutes=1), state=State.DEAD)
    assert result_of(2, "webhook_errors")[0] == Verdict.FAIL


def test_an_old_round_trip_does_not_count(installed: Settings, phases: Phases) -> None:
    phases(100)
    RoundTrip.objects.create(took_ms=1.0, at=timezone.now() - timedelta(minutes=11))
    assert result_of(2, "round_trip")[0] == Verdict.INCONCLUSIVE


@pytest.mark.long
def test_phase_2_is_held_where_no_updates_arrive(
    installed: Settings, phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases(100, 100)
    monkeypatch.setattr(controller, "probe", SimpleNamespace(round_trip=lambda: None))
    with time_machine.travel(NOON, tick=False):
        arrived(timedelta(minutes=18))
        for _ in range(2):
            controller.check()
        assert not Rollout.current().is_paused
        controller.check()
    assert Rollout.current().held_for == "Phase 2 is held at 100%: no updates for 18 min"


def evict(redis: Redis) -> None:
    """Have Redis give up a key for want of memory."""
    before = redis.info("stats")["evicted_keys"]
    redis.flushdb()
    redis.set("a key", "a value")
    enough = redis.config_get("maxmemory")["maxmemory"] or 0
    redis.config_set("maxmemory", 1)
    while redis.info("stats")["evicted_keys"] == before:
        time.sleep(0.01)
    redis.config_set("maxmemory", enough)


def test_evictions_are_counted_from_the_first_round(installed: Settings, phases: Phases, redis: Redis) -> None:
    phases(100, 100)
    redis.config_resetstat()
    evict(redis)
    assert result_of(3, "few_evictions") == (Verdict.INCONCLUSIVE, "evictions: only one measurement so far")
    assert result_of(3, "few_evictions") == (Verdict.PASS, "no significant evictions")
    evict(redis)
    assert result_of(3, "few_evictions") == (Verdict.FAIL, "Redis evicted 100.0% of the profiles in a day")
    redis.config_resetstat()
    assert result_of(3, "few_evictions")[0] == Verdict.FAIL, "a restart does not reset the count"


def test_without_evictions_the_first_round_is_enough(installed: Settings, phases: Phases, redis: Redis) -> None:
    phases(100, 100)
    redis.config_resetstat()
    assert result_of(3, "few_evictions") == (Verdict.PASS, "no significant evictions")


@pytest.fixture
def proven(installed: Settings, phases: Phases) -> Settings:
    phases(100, 100, 25)
    add_profile("7")
    compared(700)
    change("rehearsal", facts={"university": 1, "out_s": 1, "total_s": 2}, by="t", reason="r")
    return installed


def conflicts_in_the_next_cohort() -> None:
    for bucket in range(2500, 2530):
        compared(1, "conflict", bucket=bucket)


FAULTS: list[tuple[str, Callable[[Settings, pytest.MonkeyPatch], object]]] = [
    ("conflicts", lambda *_: compared(8, "conflict")),
    ("quality", lambda settings, _: setattr(settings, "PROFILE_QUALITY_ALERT_THRESHOLD", 1.01)),
    ("rehearsed", lambda _, patch: patch.setattr(gates, "REHEARSAL_LASTS", timedelta(0))),
    ("cohort_agreement", lambda *_: conflicts_in_the_next_cohort()),
    ("dwell", lambda settings, _: setattr(settings, "ROLLOUT_DWELL", timedelta(days=999))),
]


@pytest.mark.long
@pytest.mark.parametrize(("gate", "spoil"), FAULTS, ids=[gate for gate, _ in FAULTS])
def test_what_holds_phase_3(
    proven: Settings,
    monkeypatch: pytest.MonkeyPatch,
    gate: str,
    spoil: Callable[[Settings, pytest.MonkeyPatch], object],
) -> None:
    proven.ROLLOUT_DWELL = timedelta(0)
    before = {result.gate: result for result in gates.evaluate(3, Decimal(50)).results}[gate]
    assert Verdict.PASS in (before.raw, before.verdict)
    spoil(proven, monkeypatch)
    after = {result.gate: result for result in gates.evaluate(3, Decimal(50)).results}[gate]
    assert after.verdict != Verdict.PASS
    assert after.raw is None


def test_the_network_needs_659(proven: Settings) -> None:
    assert result_of(3, "agreement", 50)[1].endswith(", consecutive checks passed: 1 of 3")
    Comparison.objects.filter(pk__in=Comparison.objects.values("pk")[:42]).delete()
    assert result_of(3, "agreement", 50) == (Verdict.INCONCLUSIVE, "658 of 659 comparisons")


def test_phase_4_dwells_at_each_step(proven: Settings, phases: Phases) -> None:
    phases(100, 100, 100, 1)
    assert result_of(4, "dwell", 5)[0] == Verdict.INCONCLUSIVE
    proven.ROLLOUT_DWELL = timedelta(0)
    assert result_of(4, "dwell", 5)[0] == Verdict.PASS
