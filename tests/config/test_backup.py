"""A dump restored into an empty database has every row; a database with data is replaced only on request."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from psycopg import sql

from config.dev import backup
from config.dev.launch import Launch
from config.dev.processes import StartError
from employees.models import Employee, University

pytestmark = pytest.mark.django_db(transaction=True)
OTHER = "restored_directory"


def url_of(database: str) -> str:
    options = settings.DATABASES["default"]
    return f"postgresql://{options['USER']}@:{options['PORT']}/{database}?host={options['HOST']}"


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Launch]:
    """Return a function that makes the commands use a database, and a file for the dump."""

    def use(database: str) -> Launch:
        monkeypatch.setenv("DATABASE_URL", url_of(database))
        monkeypatch.setenv("DATA_DIR", str(tmp_path))
        return Launch.from_environment()

    monkeypatch.setenv("FILE", str(tmp_path / "new" / "directory.dump"))
    monkeypatch.delenv("REPLACE", raising=False)
    return use


@pytest.fixture
def other() -> Iterator[str]:
    """Return the name of an empty database."""
    name = sql.Identifier(OTHER)
    with psycopg.connect(url_of("postgres"), autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        server.execute(sql.SQL("CREATE DATABASE {}").format(name))
        yield OTHER
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def counts(database: str) -> dict[str, int]:
    """Return the number of rows of each table."""
    with psycopg.connect(url_of(database)) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        count = sql.SQL("SELECT count(*) FROM {}")
        return {name: connection.execute(count.format(sql.Identifier(name))).fetchone()[0] for (name,) in names}  # type: ignore[index]


@pytest.mark.long
def test_every_row_comes_back_and_data_is_replaced_only_on_request(
    launch: Callable[[str], Launch], other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    university = University.objects.create(name="СПбГУ")
    Employee.objects.create(first_name="Анна", phone="+79161234567", university=university)
    ours = str(connection.settings_dict["NAME"])
    before = counts(ours)
    assert "contains personal data" in backup.create(launch(ours))
    file = Path(os.environ["FILE"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["directory.dump"]
    with pytest.raises(StartError, match="exists already"):
        backup.create(launch(ours))
    assert "migrate-up" in backup.restore(launch(other))
    assert counts(other) == before
    with pytest.raises(StartError, match="REPLACE=yes"):
        backup.restore(launch(other))
    with psycopg.connect(url_of(other)) as connected:
        connected.execute("UPDATE employees SET first_name = 'Ольга'; CREATE TABLE of_a_newer_release (id int)")
    monkeypatch.setenv("REPLACE", "yes")
    backup.restore(launch(other))
    assert counts(other) == before
    with psycopg.connect(url_of(other)) as connected:
        assert connected.execute("SELECT first_name FROM employees").fetchall() == [("Анна",)]


@pytest.mark.long
@pytest.mark.parametrize("content", [b"", b"no dump", b"PGDMP\1\2"])
def test_a_damaged_dump_changes_nothing(
    content: bytes, launch: Callable[[str], Launch], other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(url_of(other)) as connected:
        connected.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)")
    (tmp_path / "damaged").write_bytes(content)
    monkeypatch.setenv("FILE", str(tmp_path / "damaged"))
    with pytest.raises(StartError, match="pg_restore failed"):
        backup.restore(launch(other))
    assert counts(other) == {"kept": 1}


def test_it_names_what_is_missing(launch: Callable[[str], Launch], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError, match="Name a dump"):
        backup.restore(launch("postgres"))
    with pytest.raises(StartError, match="pg_dump failed"):
        backup.create(launch("missing_database"))
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(StartError, match="Nothing runs with"):
        backup.create(Launch.from_environment())
