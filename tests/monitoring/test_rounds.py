"""Rounds of readings are taken once, stored, shared and thinned out; a failed measurement spoils no other."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from pytest_django.fixtures import Settings

from config.postgres import locks
from config.postgres.base import DatabaseWrapper, parameters
from monitoring.indicators import measurements, rounds
from monitoring.indicators.definitions import INDICATORS
from monitoring.indicators.labels import TITLES
from monitoring.indicators.models import IndicatorReading, Level, Round
from profiles import cache
from tests.monitoring.alert_causes import NOON, URL, Clock
from tests.profiles.people import add_profile
from tests.servers import FaultyServer
from tests.webhooks.fake_platform import TOKEN, fake_platform
from tests.webhooks.inbox_rows import row
from webhooks.models import State

MINUTE = timedelta(minutes=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


@pytest.fixture
def _fresh_for_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "FRESH", timedelta(seconds=10))


def test_it_works(clock: Clock) -> None:
    row(State.PENDING, age=20 * MINUTE)
    taken = rounds.take_round()
    stored = rounds.latest()
    assert (stored.at, stored.readings.keys()) == (taken.at, INDICATORS.keys())
    lag = stored["inbox_lag"]
    assert (lag.level, lag.value, lag.n) == (Level.CRITICAL, 1200.0, 1)
    assert (lag.warning_limit, lag.critical_limit) == (10, 300)
    assert str(lag.sentence) == "inbox lag 1200.0 s > 10.0 s"


def test_each_indicator_has_a_title() -> None:
    assert INDICATORS.keys() == TITLES.keys()


@pytest.mark.usefixtures("_fresh_for_ten_seconds")
def test_a_fresh_round_is_reused_and_an_old_one_is_not(clock: Clock) -> None:
    first = rounds.latest()
    clock.shift(timedelta(seconds=9))
    assert rounds.fresh().at == first.at
    clock.shift(timedelta(seconds=1))
    assert rounds.fresh().at == NOON + timedelta(seconds=10)
    clock.shift(timedelta(hours=1))
    assert rounds.latest().at == NOON + timedelta(seconds=10), "pages take what is stored"
    assert (rounds.latest().is_old, rounds.fresh().is_old) == (True, False)


@pytest.mark.usefixtures("_fresh_for_ten_seconds")
def test_a_corrected_clock_does_not_stop_the_rounds(clock: Clock) -> None:
    clock.shift(timedelta(hours=3))
    rounds.take_round()
    clock.shift(-timedelta(hours=3))
    assert rounds.fresh().at == rounds.latest().at == NOON


def test_a_failed_measurement_spoils_no_other(monkeypatch: pytest.MonkeyPatch, redis_server: FaultyServer) -> None:
    def refuse() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        return 0

    monkeypatch.setattr(measurements, "unapplied_migrations", refuse)
    redis_server.kill()
    readings = rounds.take_round()
    levels = {
        name: readings[name].level for name in ("migrations_missing", "evictions", "redis_connected", "dead_letters")
    }
    assert levels == {
        "migrations_missing": Level.ERROR,
        "evictions": Level.ERROR,
        "redis_connected": Level.CRITICAL,
        "dead_letters": Level.OK,
    }
    assert str(readings["migrations_missing"].sentence).startswith("Migrations could not be measured: ")


@pytest.mark.long
def test_only_the_worker_calls_max_once_an_interval(settings: Settings, clock: Clock) -> None:
    with fake_platform() as platform:
        settings.MAX_API_URL, settings.MAX_BOT_TOKEN, settings.WEBHOOK_PUBLIC_URL = platform.url, TOKEN, URL
        assert rounds.fresh()["subscription_lost"].level == Level.UNKNOWN
        assert platform.asked == []
        for _ in range(10):
            rounds.take_round()
            clock.shift(timedelta(seconds=60))
        asked = Counter(one.path for one in platform.asked)
        assert asked.keys() == {"/subscriptions", settings.MAX_API_USERS_PATH}
        assert all(2 <= count <= 4 for count in asked.values())
        carried = rounds.fresh()["subscription_lost"]
    assert (carried.level, carried.round_at - carried.measured_at > timedelta()) == (Level.CRITICAL, True)
    assert len(platform.asked) == asked.total()


def test_growth_counts_through_resets_and_gaps(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def grown(counter: int) -> Any:
        monkeypatch.setattr(measurements, "counted", lambda name: {("401",): counter})
        return rounds.take_round()["secret_failures"].value

    assert grown(5) == 0
    clock.shift(timedelta(hours=3))
    assert grown(9) == 4, "checks further apart than the window miss nothing"
    clock.shift(30 * MINUTE)
    assert grown(10) == 1
    clock.shift(MINUTE)
    assert grown(3) == 4, "a reset counter starts at zero"
    clock.shift(2 * MINUTE)
    IndicatorReading.objects.filter(round_at__lt=NOON + timedelta(hours=3, minutes=31)).delete()
    assert grown(3) == 0, "pruning loses no growth"


@pytest.mark.long
def test_rounds_are_thinned_out(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.lib.clock.of_database", clock_now)
    # A round of one indicator is as old as a round of all.
    monkeypatch.setattr(rounds, "INDICATORS", {rounds._FIRST: INDICATORS[rounds._FIRST]})
    for _ in range(3 * 12):
        rounds.take_round()
        clock.shift(5 * MINUTE)
    ages = sorted({(clock_now() - at) // MINUTE for at in IndicatorReading.objects.values_list("round_at", flat=True)})
    # Every five minutes for the two hours before the last one that began ten minutes, and before that one in ten.
    assert ages == [*range(5, 131, 5), *range(140, 181, 10)]
    clock.shift(timedelta(days=31))
    rounds.take_round()
    assert set(IndicatorReading.objects.values_list("round_at", flat=True)) == {clock_now()}


def clock_now() -> datetime:
    return datetime.now(UTC)


def test_the_number_of_queries_is_constant(django_assert_max_num_queries: Callable[[int], Any]) -> None:
    rounds.take_round()
    for number in range(1, 30):
        add_profile(str(number))
        row(State.DONE)
    # Two of them only if the process does not remember their results, which it does for seconds.
    with django_assert_max_num_queries(49):
        rounds.take_round()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_fresh_for_ten_seconds")
def test_two_at_once_share_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    started, go_on = threading.Event(), threading.Event()
    health = cache.health()

    def slow() -> dict[str, Any]:
        started.set()
        go_on.wait(60)
        return health

    def take() -> None:
        taken.append(rounds.fresh())
        connection.close()

    monkeypatch.setattr(cache, "health", slow)
    taken: list[Round] = []
    threads = [threading.Thread(target=take) for _ in range(2)]
    threads[0].start()
    assert started.wait(60)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert taken[0].at == taken[1].at
    assert IndicatorReading.objects.count() == len(INDICATORS)


def test_a_failed_insert_leaves_no_lock() -> None:
    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("INSERT INTO"):
            raise OperationalError
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse), pytest.raises(OperationalError):
        rounds.take_round()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s", [rounds._LOCK % 2**32]
        )
        assert cursor.fetchone() == (0,)


@pytest.mark.django_db(transaction=True)
def test_a_locked_table_holds_up_one_indicator_only(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    reading: Any = rounds._reading
    current: Any = connection

    def recorded(*arguments: Any, **options: Any) -> Any:
        try:
            return reading(*arguments, **options)
        except OperationalError:
            waited.append(current.lock_timeout_ms)
            raise

    monkeypatch.setattr(rounds, "_reading", recorded)
    monkeypatch.setattr(DatabaseWrapper, "lock_timeout_ms", 200)
    monkeypatch.setattr(locks, "SHORT_LOCK_TIMEOUT_MS", 1)
    with psycopg.connect(**parameters()) as holder:
        holder.execute("LOCK TABLE webhook_inbox, profile_cache IN ACCESS EXCLUSIVE MODE")
        taken = rounds.take_round()
    assert waited == [200, *[1] * (len(waited) - 1)]
    assert len(waited) > 1
    assert len(taken.readings) == len(INDICATORS)
    assert current.lock_timeout_ms == 200
