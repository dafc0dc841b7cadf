"""Back up and restore the database of a running system: ``python -m config.dev.backup create|restore``.

Nothing else needs a backup: the cache is refilled from PostgreSQL, and tasks are scheduled again.
"""

import os
import re
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from environ import Env

from config.dev.embedded import postgres_program
from config.dev.launch import Launch
from config.dev.processes import StartError

_URLS = ("DATABASE_DIRECT_URL", "DATABASE_URL")
# Tables whose rows are people or what the messenger has sent. A system with rows in one of them is not new.
_FILLED = "SELECT EXISTS (SELECT FROM employees) OR EXISTS (SELECT FROM webhook_inbox)"


def create(launch: Launch) -> str:
    """Write a dump to the path in the variable FILE, by default to a new file in DATA_DIR/backups; return a message.

    Only the owner of the file can read it.
    """
    now = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"
    file = _file() or launch.data_dir / "backups" / f"directory-{now}.dump"
    if file.exists():
        raise StartError(f"{file} exists already: name another FILE")
    # An interrupted dump never has the name of a complete one.
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished.touch(mode=0o600)
        _run([postgres_program("pg_dump"), "--format", "custom", "--file", str(unfinished), _url(launch)])
        unfinished.rename(file)
    except OSError as error:
        raise StartError(f"{file} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return (
        f"{file}: {file.stat().st_size / 1e6:.1f} MB. It contains personal data: keep it where others cannot read it."
    )


def restore(launch: Launch) -> str:
    """Replace the database with the dump in FILE, in one transaction; return a message with the next steps.

    If the database has employees or updates, raise StartError unless the variable REPLACE is “yes”.
    """
    file = _file()
    if not file or not file.is_file():
        raise StartError("Name a dump: make restore FILE=.data/backups/directory-….dump")
    url = _url(launch)
    if os.environ.get("REPLACE") != "yes" and _is_filled(url):
        raise StartError("The database has employees or updates: REPLACE=yes deletes them and restores the dump")
    script = _run([postgres_program("pg_restore"), "--no-owner", "--no-privileges", "--file", "-", str(file)])
    psql = [
        postgres_program("psql"),
        "--quiet",
        "--no-psqlrc",
        "--output",
        os.devnull,
        "--single-transaction",
        "--set",
        "ON_ERROR_STOP=1",
    ]
    # A dump names the schema public only if its owner or privileges were changed.
    schemas = {b"public", *re.findall(rb"^CREATE SCHEMA (\S+);$", script, re.MULTILINE)}
    drops = b"".join(b"DROP SCHEMA IF EXISTS %s CASCADE;\n" % name for name in schemas)
    is_named = b"\nCREATE SCHEMA public;" in script
    _run([*psql, url], drops + (b"" if is_named else b"CREATE SCHEMA public;\n") + script)
    return (
        f"Restored {file}. Next: `make migrate-up`, then `make deploy`; repeat the erasures made after the dump "
        "(docs/how-to/erase-a-person.md), and check the switches and percentages: they are those of the dump."
    )


def _file() -> Path | None:
    name = os.environ.get("FILE", "").strip()
    return Path(name).expanduser() if name else None


def _url(launch: Launch) -> str:
    Env.read_env(launch.data_dir / "services.env")
    # Prefer the direct URL: pg_dump changes settings of its session, which a pooler would give to other clients.
    url = next((url for name in _URLS if (url := launch.environment.get(name) or os.environ.get(name))), None)
    if not url:
        raise StartError(f"Nothing runs with {launch.data_dir}: start `make run`, or set DATABASE_URL or DATA_DIR")
    return url


def _is_filled(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute(_FILLED).fetchone()
            return bool(row and row[0])
    except psycopg.errors.UndefinedTable:
        return False
    except psycopg.OperationalError as error:
        raise StartError(f"PostgreSQL does not answer: {str(error).splitlines()[0]}") from None


def _run(command: list[str], script: bytes | None = None) -> bytes:
    """Run a PostgreSQL program and return its output; if the program fails, raise StartError with its error message."""
    done = subprocess.run(command, input=script, capture_output=True, check=False)  # noqa: S603 (ours)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise StartError(f"{Path(command[0]).name} failed: {reason}")
    return done.stdout


if __name__ == "__main__":
    try:
        command = {"create": create, "restore": restore}[sys.argv[1]]
        sys.stdout.write(f"{command(Launch.from_environment())}\n")
    except StartError as error:
        sys.exit(str(error))
