import gc
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial

import hypothesis
import pytest
import pytest_django
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings
from django.utils import timezone, translation
from django_redis import get_redis_connection
from pytest_django.fixtures import Settings
from redis import Redis
from rest_framework.test import APIClient
from waffle.models import Switch

from employees.credentials.models import LogIn
from employees.credentials.tokens import access_token
from employees.models import University
from monitoring.indicators import rounds
from profiles import cache
from profiles.max_api import users
from profiles.rollout import heartbeat
from profiles.rollout.decision import forget_state
from profiles.rollout.heartbeat import heartbeat_thread
from profiles.rollout.models import Flag
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SWITCHES
from tests import limits
from tests.database_dump import MigratedDump
from tests.database_reset import replaced_flush, save_rows
from tests.profiles.fake_max import FakeMax, fake_max
from tests.servers import FaultyServer
from tests.waiting import await_cancellations
from tests.webhooks import sending
from tests.webhooks.fake_platform import TOKEN, FakePlatform, fake_platform

Phases = Callable[..., None]

# A machine that stalls while examples are drawn is no fault of the test. `make test-integration` sets NAMES, for as
# many examples as hypothesis draws by default.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("few", hypothesis.settings.get_profile("patient"), max_examples=10)
hypothesis.settings.load_profile("patient" if os.environ.get("NAMES") == "full" else "few")

# Usually done by config.urls, which not every test imports.
admin.autodiscover()


def pytest_collection_finish() -> None:
    """Exclude the imported objects from garbage collection, which took a tenth of the tests' time."""
    gc.freeze()
    # What is left is small, and would be collected a thousand times a second.
    gc.set_threshold(50_000)
    gc.enable()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name long bytes by their length: a workbook holds when it was made, and workers must collect the same ids."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > 50 else None


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Leave the database to its server, which is removed: dropping it waits for a second."""
    return True


@pytest.fixture(scope="session")
def django_db_createdb() -> bool:
    return True


@pytest.fixture(scope="session")
def migrated_dump(
    request: pytest.FixtureRequest,
    django_db_modify_db_settings_parallel_suffix: None,
    django_db_blocker: pytest_django.DjangoDbBlocker,
) -> MigratedDump | None:
    """Return the dump of the migrated database; without pytest's cache there is none."""
    if not hasattr(request.config, "cache"):
        return None
    dump = MigratedDump(request.config.cache)
    with django_db_blocker.unblock():
        dump.restore()
    return dump


@pytest.fixture(scope="session")
def django_db_modify_db_settings(migrated_dump: MigratedDump | None) -> None:
    """Have Django start from the dump."""


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, migrated_dump: MigratedDump | None, django_db_blocker: pytest_django.DjangoDbBlocker
) -> Iterator[None]:
    """Restore the rows of the migrations after each test that commits."""
    with django_db_blocker.unblock():
        if migrated_dump:
            migrated_dump.save()
        # A dump may be old, and an installation that has not checked its alerts for fifteen minutes says so.
        MigrationRecorder.Migration.objects.update(applied=timezone.now())
        save_rows()
    with replaced_flush():
        yield


@pytest.fixture(scope="session", autouse=True)
def _of_all_tests(django_test_environment: None) -> Iterator[None]:
    """Hash passwords quickly (the real hasher takes a third of a second each), choose English, and be patient."""
    hashers = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    with override_settings(PASSWORD_HASHERS=hashers, LANGUAGE_CODE="en"), limits.generous():
        yield


@pytest.fixture(autouse=True)
def _as_a_new_process() -> Iterator[None]:
    """Forget what a process remembers: flags, breakers and language, and stop its threads.

    In one fixture, because each costs a millisecond in each of thousands of tests.
    """
    forget_state()
    cache._lease.forget()
    cache.breaker.close()
    users.breaker.close()
    # A round stays fresh for longer than a test takes.
    fresh, rounds.FRESH = rounds.FRESH, timedelta(0)
    with translation.override("en"):
        yield
    rounds.FRESH = fresh
    heartbeat_thread.stop()
    sending.close()


@pytest.fixture
def shared_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure indicators once, for a test of many pages that changes nothing between them."""
    monkeypatch.setattr(rounds, "FRESH", timedelta(minutes=5))


@pytest.fixture
def product_limits(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that gives a module its own limits back (tests.limits), for what the test does from then on."""

    return partial(limits.have_product, monkeypatch)


@pytest.fixture
def redis_server(redis_server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """While it is paused, each round trip has the product's time; whatever else is slow does not count."""
    pause, resume = redis_server.pause, redis_server.resume

    def pause_and_hurry() -> None:
        limits.hurry_redis()
        pause()

    def resume_and_wait() -> None:
        resume()
        limits.wait_for_redis()

    monkeypatch.setattr(redis_server, "pause", pause_and_hurry)
    monkeypatch.setattr(redis_server, "resume", resume_and_wait)
    yield redis_server
    redis_server.resume()


@pytest.fixture
def patient_cancellations(monkeypatch: pytest.MonkeyPatch) -> None:
    await_cancellations(monkeypatch)


@pytest.fixture
def steady_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count a heartbeat as living for 45 seconds, as a test on a slow machine may take longer than the usual 3."""
    monkeypatch.setattr(heartbeat, "SILENT_AFTER", timedelta(seconds=45))


@pytest.fixture
def redis(db: None) -> Iterator[Redis]:
    """Return the client of the cache's Redis, which has no profiles and serves those that are written."""
    client = get_redis_connection("default")
    client.flushdb()
    cache.begin_generation()
    yield client
    client.flushdb()


@pytest.fixture
def phases(db: None) -> Phases:
    """Return a setter of the four percentages; switches are on and nothing is stopped, as after a migration."""
    wanted = {name: name != EMERGENCY_STOP for name in (*SWITCHES, EMERGENCY_STOP)}
    if dict(Switch.objects.filter(name__in=wanted).values_list("name", "active")) != wanted:
        switches = [Switch(name=name, active=active) for name, active in wanted.items()]
        Switch.objects.bulk_create(switches, update_conflicts=True, unique_fields=["name"], update_fields=["active"])

    def set_percents(*percents: float) -> None:
        # In one statement: saving each takes sixty queries, for the rules and the audit log.
        flags = [
            Flag(name=name, percent=Decimal(str(percent)))
            for name, percent in zip(PHASES, [*percents, 0, 0, 0, 0], strict=False)
        ]
        moved = ["percent", "everyone", "moved_at"]
        Flag.objects.bulk_create(flags, update_conflicts=True, unique_fields=["name"], update_fields=moved)
        forget_state()

    set_percents()
    return set_percents


@pytest.fixture
def cache_first(phases: Phases, redis: Redis) -> None:
    """Set phase 3 to 100%: updates are collected, and names come from the cache first."""
    phases(100, 100, 100)


@pytest.fixture
def university(db: None) -> University:
    return University.objects.create(name="Университет")


@pytest.fixture
def superadmin(db: None) -> User:
    return User.objects.create_superuser("root")


def bearer(user: User) -> str:
    """Log the user in; return the Authorization header."""
    return f"Bearer {access_token(LogIn.objects.start(user))}"


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=bearer(user))
    return client


@pytest.fixture
def api(superadmin: User) -> APIClient:
    return client_of(superadmin)


@pytest.fixture
def direct(settings: Settings) -> Iterator[FakeMax]:
    """Start a fake direct API, with a token for it. Requests take as long as this machine needs."""
    with fake_max() as fake:
        settings.MAX_API_URL, settings.MAX_API_TIMEOUT = fake.url, limits.MAX_API_TIMEOUT
        settings.MAX_BOT_TOKEN = "bot-token"
        yield fake


@pytest.fixture
def platform(settings: Settings) -> Iterator[FakePlatform]:
    """Start a fake MAX API, with a token for it. Requests take as long as this machine needs."""
    with fake_platform() as fake:
        settings.MAX_API_URL, settings.MAX_API_TIMEOUT = fake.url, limits.MAX_API_TIMEOUT
        settings.MAX_BOT_TOKEN = TOKEN
        yield fake
