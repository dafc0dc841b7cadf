"""What was acknowledged survives a crash of PostgreSQL, also if an administrator has set synchronous_commit to off."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from signal import SIGKILL
from typing import Any

import psycopg
import pytest
from django.db import connection
from rest_framework.test import APIClient

from config.postgres import pooler
from config.postgres.base import COMMIT_LOCALLY, DeadlineConnection, parameters
from employees.models import University
from tests.chaos.system import System
from tests.chaos.test_worker_faults import ready
from tests.chaos.webhook_load import post
from tests.waiting import seconds_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]
_WRITES = ("INSERT", "UPDATE", "DELETE")
_KEPT = """
SELECT (SELECT count(*) FROM employees), (SELECT count(*) FROM tombstones),
       (SELECT count(*) FROM waffle_switch WHERE active AND name = 'emergency_stop'),
       (SELECT count(*) FROM profile_cache),
       (SELECT count(*) FROM webhook_inbox WHERE update_type = 'bot_added')
"""
_UPDATE = b'{"update_type":"bot_added","timestamp":1,"chat_id":1,"user":{"user_id":8,"first_name":"Anna"}}'
_SETTING = "SELECT current_setting('synchronous_commit')"


@pytest.fixture(params=["direct", "pooled"])
def careless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Accept losses as an administrator may, for a server that is reached directly or through a pooler."""
    if request.param == "pooled":

        def pooling_of(_pgconn: object) -> Any:
            yield from ()
            return pooler.Pooling(is_pooled=True, prepares=False)

        monkeypatch.setattr(pooler, "_pooling_of", pooling_of)
    with psycopg.connect(**parameters(), autocommit=True) as admin:
        admin.execute("ALTER ROLE postgres SET synchronous_commit = off")
        connection.close()
        yield
        admin.execute("ALTER ROLE postgres RESET synchronous_commit")
    connection.close()


@pytest.fixture
def settings_of_writes() -> Iterator[list[str]]:
    """Collect the setting under which each statement writes."""
    found: list[str] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if sql.lstrip().upper().startswith(_WRITES):
            [setting] = connection.connection.execute(_SETTING).fetchone()
            found.append("local" if COMMIT_LOCALLY in sql else setting)
        return result

    with connection.execute_wrapper(record):
        yield found


@pytest.mark.usefixtures("careless")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/employees", {"phone": "+79165550001", "first_name": "А", "last_name": "Б", "university_name": "У"}),
        ("/monitoring/rollout/emergency", {"reason": "drill"}),
        ("/profiles/7", None),
        ("/profiles/7/name", {"name": "Анна Иванова"}),
    ],
)
def test_it_works(api: APIClient, path: str, body: Any, settings_of_writes: list[str]) -> None:
    answer = api.post(path, body, format="json") if body else api.delete(path)
    assert answer.status_code in (200, 201, 204), answer.content
    # A stop and an erasure hold no lock while they wait for a standby, and what a create looks up acknowledges nothing.
    # All of it survives a crash as well.
    found = set(settings_of_writes)
    assert found <= ({"on"} if path == "/profiles/7/name" else {"on", "local"})
    assert path != "/employees" or "on" in found


@pytest.mark.usefixtures("careless")
def test_it_holds_outside_transactions(settings_of_writes: list[str]) -> None:
    University.objects.create(name="У")
    University.objects.filter(name="У").update(name="Ф")
    assert set(settings_of_writes) == {"on"}


@pytest.mark.usefixtures("careless")
def test_a_pooled_session_is_left_as_it_was() -> None:
    University.objects.create(name="У")
    with connection.cursor() as cursor:
        cursor.execute(_SETTING)
        assert cursor.fetchone() == ("off" if connection.connection.pooling.is_pooled else "on",)


@pytest.mark.parametrize("setting", ["local", "remote_write", "on", "remote_apply"])
def test_a_setting_that_loses_nothing_in_a_crash_is_kept(setting: str) -> None:
    """A session keeps it also if an administrator sets ``off`` later."""
    with psycopg.connect(**parameters(), autocommit=True) as admin:
        admin.execute(f"ALTER ROLE postgres SET synchronous_commit = {setting}")
        try:
            with DeadlineConnection.connect(**parameters()) as opened:
                row = opened.execute("SELECT setting, source FROM pg_settings WHERE name = 'synchronous_commit'")
                assert row.fetchone() == (setting, "session")
        finally:
            admin.execute("ALTER ROLE postgres RESET synchronous_commit")


@pytest.fixture
def careless_system() -> Iterator[System]:
    """Return a system whose PostgreSQL writes commits to its disk long after they were acknowledged."""
    system = System(DEBUG="true", WEB_WORKERS="1")
    try:
        system.start()
        with system.database() as admin:
            for setting in ("synchronous_commit = off", "wal_writer_delay = '10s'", "wal_writer_flush_after = '1GB'"):
                admin.execute(f"ALTER SYSTEM SET {setting}")
            admin.execute("SELECT pg_reload_conf()")
        time.sleep(1)
        yield system
    finally:
        assert system.stop() == []


@pytest.mark.integration
@pytest.mark.xdist_group("slow")
@pytest.mark.timeout(240)
@pytest.mark.alone
def test_nothing_acknowledged_is_lost_in_a_crash(careless_system: System) -> None:
    system, employee = careless_system, {"phone": "+79165550001", "university_name": "У"}
    token = system.token()
    assert _ask(system, token, "POST", "/profiles/7/name", {"name": "Анна Иванова"}) == 200
    assert _ask(system, token, "POST", "/employees", employee) == 201
    # So far in sessions from before the setting, from now on in those that begin with it.
    with system.database() as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'directory-%'"
        )
    seconds_until(lambda: post(system, _UPDATE).answer == 200, 60)
    assert _ask(system, token, "POST", "/monitoring/rollout/emergency", {"reason": "drill"}) == 200
    assert _ask(system, token, "DELETE", "/profiles/7") == 204
    for pid in system.pids("postgres"):
        with suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)
    seconds_until(lambda: ready(system)["status"] != "unavailable", 60)
    with system.database() as database:
        counts = database.execute(_KEPT).fetchone()
    assert counts == (1, 1, 1, 0, 1)


def _ask(system: System, token: str, method: str, path: str, body: Any = None) -> int:
    client = HTTPConnection("127.0.0.1", system.port, timeout=20)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    client.request(method, path, json.dumps(body) if body else None, headers)
    status = client.getresponse().status
    client.close()
    return status
