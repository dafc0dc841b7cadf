"""Cause each kind of alert; each function returns a function that fixes the cause."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from pytest_django.fixtures import Settings

from config.postgres import locks
from employees.models import BackfillBatch, BackfillRun
from monitoring.alerts import engine
from monitoring.alerts.kinds import Kind
from profiles import cache
from profiles.models import Profile
from tests.profiles.people import add_profile
from tests.rollout.changing import change
from tests.webhooks.fake_platform import FakePlatform
from tests.webhooks.inbox_rows import row
from tests.webhooks.sending import send
from webhooks.models import State

URL = "https://directory.example.ru/webhook/max"

Clock = time_machine.Traveller
# A Wednesday in working hours, so that silence counts.
NOON = datetime(2026, 11, 25, 9, tzinfo=UTC)

Fix = Callable[[], object]


def low_quality(**_: Any) -> Fix:
    add_profile("1", "Иван", "Петров")
    add_profile("2", None, "")
    return lambda: Profile.objects.filter(user_id="2").delete()


def webhook_errors(**_: Any) -> Fix:
    row(State.QUARANTINED)
    row(State.DONE)
    return lambda: [row(State.DONE) for _ in range(30)]


def redis_gone(monkeypatch: pytest.MonkeyPatch, **_: Any) -> Fix:
    whole = cache.health()
    answer = whole | {"redis_connected": False, "last_error": "info: ConnectionError"}
    monkeypatch.setattr(cache, "health", lambda: answer)
    return lambda: answer.update(whole)


def evictions(monkeypatch: pytest.MonkeyPatch, clock: Clock, **_: Any) -> Fix:
    answer = cache.health() | {"evicted_keys": 10, "cached_profiles": 100}
    monkeypatch.setattr(cache, "health", lambda: answer)
    engine.check_alerts()
    answer["evicted_keys"] = 15
    return lambda: clock.shift(timedelta(days=1))


def set_back(**_: Any) -> Fix:
    cache.store_progress({"revision": 1_000_000, "erasures": 0})
    return cache.invalidate


def lag(**_: Any) -> Fix:
    waiting = row(State.PENDING, timedelta(minutes=1))
    return waiting.delete


def dead_letter(**_: Any) -> Fix:
    for _number in range(40):
        row(State.DONE)
    dead = row(State.DEAD)
    return dead.delete


def stop_updates(clock: Clock, **_: Any) -> Fix:
    row(State.DONE, timedelta(hours=24))
    return lambda: row(State.DONE)


def subscription_lost(platform: FakePlatform, **_: Any) -> Fix:
    return lambda: platform.sends_to(URL)


def subscription_wrong(platform: FakePlatform, **_: Any) -> Fix:
    platform.sends_to(URL, update_types=["message_created"])
    return lambda: platform.subscriptions.__setitem__(slice(None), [{"url": URL, "time": 0, "update_types": None}])


def no_direct_api(settings: Settings, **_: Any) -> Fix:
    settings.WEBHOOK_PUBLIC_URL = ""  # without a subscription, that would be a problem of its own
    path, settings.MAX_API_USERS_PATH = settings.MAX_API_USERS_PATH, "/internal/none"
    return lambda: setattr(settings, "MAX_API_USERS_PATH", path)


def wrong_secrets(settings: Settings, clock: Clock, **_: Any) -> Fix:
    engine.check_alerts()
    settings.WEBHOOK_SECRETS = [b"right-secret"]
    for _number in range(10):
        assert send({}, x_max_bot_api_secret="wrong").status == 401
    return lambda: clock.shift(timedelta(hours=1))


def held(**_: Any) -> Fix:
    change("pause", by="conductor", reason="no updates")
    return lambda: change("resume", reason="they are back")


def lock(monkeypatch: pytest.MonkeyPatch, **_: Any) -> Fix:
    held = [locks.Session(4711, "psql", "idle in transaction", 90.0)]
    monkeypatch.setattr(locks, "blocking_session", lambda: held[0] if held else None)
    return held.clear


def backfill(**_: Any) -> Fix:
    run = BackfillRun.objects.create(until_id=10)
    batch = BackfillBatch.objects.create(run=run, status="failed", after_id=0, until_id=10)
    return lambda: BackfillBatch.objects.filter(pk=batch.pk).update(status="done")


CAUSES: dict[Kind, Callable[..., Fix]] = {
    Kind.PROFILE_QUALITY_LOW: low_quality,
    Kind.WEBHOOK_ERROR_RATE_HIGH: webhook_errors,
    Kind.CACHE_CONNECTION_FAILED: redis_gone,
    Kind.CACHE_EVICTIONS_HIGH: evictions,
    Kind.DATABASE_RESTORED: set_back,
    Kind.INBOX_LAG_HIGH: lag,
    Kind.DEAD_LETTERS: dead_letter,
    Kind.WEBHOOK_SILENT: stop_updates,
    Kind.SUBSCRIPTION_LOST: subscription_lost,
    Kind.SUBSCRIPTION_WRONG: subscription_wrong,
    Kind.DIRECT_API_MISSING: no_direct_api,
    Kind.SECRET_FAILURES: wrong_secrets,
    Kind.LOCK_HELD: lock,
    Kind.ROLLOUT_HELD: held,
    Kind.BACKFILL_FAILED: backfill,
}
