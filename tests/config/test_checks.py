"""Deployments that the system checks warn of, each by its id; a good one is clean."""

import os
import resource
import secrets
import shlex
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import psycopg
import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import OperationalError, connection
from pytest_django.fixtures import Settings

from config.dev.processes import BASE_DIR
from config.postgres.checks import check_durability
from employees.checks import OPEN_FILES_WANTED, check_open_files
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES
from tests.conftest import Phases
from tests.servers import FaultyServer, servers
from tests.waiting import seconds_until

OURS = ("profiles.", "rollout.", "webhooks.", "monitoring.")


def ids() -> list[str]:
    found = run_checks(include_deployment_checks=True)
    return [message.id for message in found if message.id and message.id.startswith(OURS)]


@pytest.mark.long
@pytest.mark.parametrize("has_database", [True, pytest.param(False, marks=pytest.mark.integration)])
def test_a_good_production_is_clean(settings: Settings, has_database: bool, durable_postgres: FaultyServer) -> None:
    """Each silenced id would have been reported; the exit code is 0 before the first migration too."""
    environment = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": os.devnull,
        "DATA_DIR": str(servers.folder),
        "SECRET_KEY": secrets.token_urlsafe(64),
        "WEBHOOK_SECRET": secrets.token_urlsafe(24),
        "ALLOWED_HOSTS": "directory.example.ru",
        "DATABASE_URL": durable_postgres.url if has_database else "postgresql://postgres@127.0.0.1:1/directory",
        "REDIS_URL": servers.cache.url,
        "CELERY_BROKER_URL": servers.broker.url,
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert f"no issues ({len(settings.SILENCED_SYSTEM_CHECKS)} silenced)" in done.stdout


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("name", ["PROFILE_TTL", "PROFILE_CACHE_TIMEOUT", "MAX_API_TIMEOUT"])
def test_durations_have_to_be_positive(settings: Settings, name: str) -> None:
    assert ids() == []
    setattr(settings, name, timedelta(0))
    assert ids() == ["profiles.E001"]


@pytest.mark.django_db
def test_the_bundle_of_authorities_has_to_be_there(settings: Settings, tmp_path: Path) -> None:
    settings.MAX_API_CA_BUNDLE = str(tmp_path / "ca.pem")
    assert ids() == ["profiles.E003"]
    (tmp_path / "ca.pem").touch()
    assert ids() == []


@pytest.mark.django_db
def test_the_queue_shares_no_server_with_the_cache(settings: Settings) -> None:
    settings.CELERY_BROKER_URL = f"{servers.cache.url.rpartition('/')[0]}/2"
    assert ids() == ["profiles.E002"], "the cache evicts"
    settings.CELERY_BROKER_URL = settings.REDIS_URL = servers.broker.url.replace("redis+socket", "unix")
    assert ids() == ["profiles.W001"], "the queue's server does not"


@pytest.mark.django_db
def test_a_queue_that_does_not_answer_is_not_judged(settings: Settings, broker_server: FaultyServer) -> None:
    broker_server.kill()
    assert ids() == []


@pytest.mark.django_db
def test_a_queue_that_is_no_redis_is_not_judged(settings: Settings) -> None:
    settings.CELERY_BROKER_URL = "amqp://localhost"
    assert ids() == []


@pytest.mark.django_db
def test_waffles_override_is_refused(settings: Settings) -> None:
    settings.WAFFLE_OVERRIDE = True
    assert ids() == ["rollout.E001"]


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("everyone", [True, False])
def test_it_warns_of_an_overridden_phase(phases: Phases, everyone: bool) -> None:
    phases(100, 100, 12.5)
    Flag.objects.filter(name=PHASES[2]).update(everyone=everyone)
    assert ids() == ["rollout.W001"]
    (warning,) = [message for message in run_checks(include_deployment_checks=True) if message.id == "rollout.W001"]
    argv = shlex.split(str(warning.hint).partition(" removes ")[0])
    call_command(*argv[1:-1], "as the check says", stdout=StringIO())
    assert ids() == []
    assert Flag.objects.get(name=PHASES[2]).percent == (12.5 if everyone else 0)


@pytest.mark.django_db
def test_phase_4_wants_the_direct_api(phases: Phases, settings: Settings) -> None:
    phases(100, 100, 100, 1)
    assert ids() == ["rollout.W002"]
    settings.MAX_BOT_TOKEN = "token"
    assert ids() == []
    phases(100, 100, 100, 0)
    settings.MAX_BOT_TOKEN = ""
    assert ids() == []


@pytest.mark.django_db(transaction=True)
def test_no_database_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """`check --deploy` comes before the first migration too."""
    connection.close()
    monkeypatch.setattr(connection, "settings_dict", connection.settings_dict | {"HOST": "127.0.0.1", "PORT": "1"})
    with pytest.raises(OperationalError):
        connection.ensure_connection()
    assert ids() == []


def durability() -> list[str]:
    return [message.id or "" for message in check_durability(None)]


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_commit_has_to_be_durable(durable_postgres: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert durability() == ["postgres.E001", "postgres.E002", "postgres.E003"], "the server of the tests is fast"
    connection.close()
    options = {"HOST": durable_postgres.url.partition("host=")[2], "NAME": "directory"}
    monkeypatch.setattr(connection, "settings_dict", connection.settings_dict | options)
    try:
        assert durability() == []
        with connection.cursor() as cursor:
            cursor.execute("ALTER ROLE postgres SET synchronous_commit = off")
        connection.close()
        [error] = check_durability(None)
        assert error.msg == (
            "PostgreSQL runs with synchronous_commit = off: "
            "what was acknowledged in the last second before a crash may be lost."
        )
        with connection.cursor() as cursor:
            cursor.execute("ALTER ROLE postgres RESET synchronous_commit")
    finally:
        connection.close()


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_it_warns_of_an_asynchronous_standby(durable_postgres: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that receives the log as a standby does, and one that PostgreSQL waits for."""
    connection.close()
    options = {"HOST": durable_postgres.url.partition("host=")[2], "NAME": "directory"}
    monkeypatch.setattr(connection, "settings_dict", connection.settings_dict | options)
    with psycopg.connect(durable_postgres.url, autocommit=True) as admin:
        lsn = admin.execute("SELECT pg_current_wal_lsn()").fetchone()
        standby = psycopg.pq.PGconn.connect(f"{durable_postgres.url}&replication=true".encode())
        try:
            standby.send_query(f"START_REPLICATION PHYSICAL {lsn[0] if lsn else ''}".encode())
            standby.flush()
            seconds_until(lambda: admin.execute("SELECT 1 FROM pg_stat_replication").fetchone())
            assert durability() == ["postgres.W001"]
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            admin.execute("SELECT pg_reload_conf()")
            seconds_until(lambda: admin.execute("SHOW synchronous_standby_names").fetchone() == ("*",))
            connection.close()
            assert durability() == []
        finally:
            standby.finish()
            connection.close()


def test_it_warns_of_a_low_limit_of_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES_WANTED, hard))
    try:
        assert check_open_files(None) == []
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        [warning] = check_open_files(None)
        assert (warning.id, warning.msg.partition(":")[0]) == (
            "employees.W001",
            "A process may open only 1024 files",
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
