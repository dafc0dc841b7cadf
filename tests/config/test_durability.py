"""What was acknowledged survives kill -9 of PostgreSQL, even if an administrator has set synchronous_commit to off."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from employees.models import Employee, University
from profiles.personal_data import erasure
from tests.conftest import Phases, client_of
from tests.profiles.people import add_profile
from tests.rollout.changing import change
from tests.servers import FaultyServer

SHOW = "SELECT current_setting('synchronous_commit')"
# Each changed row raises an error unless its transaction will be flushed.
_WATCH = """
CREATE OR REPLACE FUNCTION refuse_asynchronous() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('synchronous_commit') <> 'on' THEN RAISE 'this commit is asynchronous'; END IF;
    RETURN NULL;
END $$;
"""
_TABLES = ("erasures", "tombstones", "profile_cache", "rollout_change", "rollout_rollout", "employees", "universities")


@pytest.fixture
def _watched(transactional_db: None) -> Iterator[None]:
    """The test servers run with synchronous_commit off."""
    with connection.cursor() as cursor:
        cursor.execute(SHOW)
        assert cursor.fetchone() == ("off",)
        cursor.execute(_WATCH)
        for table in _TABLES:
            changes = f"AFTER INSERT OR UPDATE OR DELETE ON {table}"
            cursor.execute(f"CREATE TRIGGER watch {changes} EXECUTE FUNCTION refuse_asynchronous()")
    yield
    with connection.cursor() as cursor:
        for table in _TABLES:
            cursor.execute(f"DROP TRIGGER watch ON {table}")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_watched")
@pytest.mark.parametrize(
    "act",
    [
        lambda _: erasure.erase("7", by="x", reason="y"),
        lambda _: change("emergency", reason="x"),
        lambda _: change("pause", reason="x"),
        # Outside of a transaction, as Django's own code may write.
        lambda _: Employee.objects.update(first_name="Б"),
        lambda university: university.delete(),
        lambda _: add_profile("8", "Новое"),
    ],
    ids=["erasure", "emergency stop", "pause", "update", "delete", "profile"],
)
def test_a_write_is_flushed(act: Callable[[University], object], phases: Phases, university: University) -> None:
    add_profile("7", "Имя")
    act(university)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_watched")
def test_a_create_is_flushed(phases: Phases, superadmin: User, university: University) -> None:
    body = {"phone": "+79165550001", "university_id": university.pk, "first_name": "А", "last_name": "Б"}
    assert client_of(superadmin).post("/employees", body, format="json").status_code == 201


@pytest.mark.django_db(transaction=True)
def test_the_setting_ends_with_the_transaction() -> None:
    with connection.cursor() as cursor:
        with transaction.atomic():
            cursor.execute(SHOW)
            assert cursor.fetchone() == ("on",)
        cursor.execute(SHOW)
        assert cursor.fetchone() == ("off",)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("block", [transaction.atomic, nullcontext])
def test_it_survives_kill_9(
    durable_postgres: FaultyServer, monkeypatch: pytest.MonkeyPatch, block: Callable[[], AbstractContextManager[None]]
) -> None:
    with psycopg.connect(durable_postgres.url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET synchronous_commit = off")
        # Otherwise PostgreSQL itself flushes within 0.6 seconds what was committed.
        admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        admin.execute("SELECT pg_reload_conf()")
        admin.execute("CREATE TABLE kept (id int)")
        admin.execute("CHECKPOINT")
    time.sleep(0.3)
    connection.close()
    options = {"HOST": durable_postgres.url.partition("host=")[2], "NAME": "directory"}
    monkeypatch.setattr(connection, "settings_dict", connection.settings_dict | options)
    try:
        with block(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO kept VALUES (1)")
        durable_postgres.kill()
    finally:
        connection.close()
    durable_postgres.start()
    with psycopg.connect(durable_postgres.url) as admin:
        assert admin.execute("SELECT count(*) FROM kept").fetchone() == (1,)
