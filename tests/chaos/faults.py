"""The faults: each is a block of time in which a part is dead, stopped, locked or full."""

import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import redis

from tests.chaos.fake_direct_api import DirectApi
from tests.chaos.responses import Answers
from tests.chaos.system import PARTS, PROGRAMS, System
from tests.redis_refusals import REFUSALS

_LOCKED_TABLES = ("webhook_inbox", "profile_cache", "employees", "tombstones", "rollout_flag", "auth_user")
_READ_ONLY = "default_transaction_read_only"
# The sessions of faults, and PostgreSQL's own processes.
_OWN = "coalesce(datname, '') = '' OR application_name = 'chaos' OR pid = pg_backend_pid()"
_CANCEL = f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE state <> 'idle' AND NOT ({_OWN})"  # noqa: S608
_TERMINATE = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE NOT ({_OWN})"  # noqa: S608
LATE_CHECK = "alerts were last checked"
_UNDO_SECONDS = 20.0
_CONNECTIONS = 400
_HOUR = 3600.0
_SIZES = (16 * 1024**2, 1024**2, 4096)


@dataclass(frozen=True)
class Context:
    system: System
    answers: Answers
    direct_api: DirectApi
    choice: random.Random


@dataclass(frozen=True)
class Kind:
    """``must_work`` means that the system must become well while the fault lasts, too.

    /ready may be degraded meanwhile for the reason ``may_say``.
    """

    name: str
    block: Callable[[Context], AbstractContextManager[None]]
    must_work: bool = False
    may_say: str = ""


def kinds(system: System) -> list[Kind]:
    """Return the kinds of faults that are possible on this machine."""
    found = [Kind(f"kill -9 {part}", partial(_killed, part)) for part in PARTS]
    found += [Kind(f"stopped {part}", partial(_stopped, part)) for part in PARTS]
    found += [Kind(f"Redis refuses writes: {name}", partial(_refusing, "cache", name)) for name in REFUSALS]
    for name in ("READONLY", "OOM"):
        found.append(Kind(f"broker refuses writes: {name}", partial(_refusing, "broker", name)))
    found += [Kind(f"{part} loses everything", partial(_emptied, part)) for part in ("cache", "broker")]
    found += [Kind(f"{part} ends all connections", partial(_disconnected, part)) for part in ("cache", "broker")]
    found += [Kind(f"locked {table}", partial(_locked, table)) for table in _LOCKED_TABLES]
    found += [
        Kind("PostgreSQL read-only", partial(_set, _READ_ONLY, "on")),
        Kind("PostgreSQL ends all sessions", _sessions_ended),
        Kind("PostgreSQL without free connections", _without_connections),
        Kind("PostgreSQL cancels statements", _cancelled),
        Kind("PostgreSQL ends idle sessions", partial(_set, "idle_session_timeout", "500"), must_work=True),
        Kind("web without free files", _without_files),
        Kind("direct API fails", partial(_direct_api, "fails"), must_work=True),
        Kind("direct API hangs", partial(_direct_api, "hangs")),
    ]
    for direction, ahead in (("back", -_HOUR), ("ahead", _HOUR)):
        for part in PROGRAMS:
            # These two compare the time of a check by the worker's clock with their own.
            may_say = LATE_CHECK if part in ("web", "worker") else ""
            set_one = partial(_clocks, [part], ahead)
            found.append(Kind(f"clock of {part} an hour {direction}", set_one, must_work=True, may_say=may_say))
        set_all = partial(_clocks, PROGRAMS, ahead)
        found.append(Kind(f"clock of all an hour {direction}", set_all, must_work=True))
    if system.is_on_own_disk:
        found.append(Kind("disk full", _full_disk))
    return found


@contextmanager
def _killed(part: str, context: Context) -> Iterator[None]:
    """Kill the first process of a part (its parent), or any of them."""
    pids = context.system.pids(part)
    if pids:
        with suppress(ProcessLookupError):
            os.kill(context.choice.choice([pids[0], context.choice.choice(pids)]), signal.SIGKILL)
    yield


@contextmanager
def _stopped(part: str, context: Context) -> Iterator[None]:
    pids = context.system.pids(part)
    if part == "web":
        # One of its processes: the others must answer.
        pids = [context.choice.choice(pids[1:] or pids)] if pids else []
    with _excused(context) if part == "web" else nullcontext():
        try:
            _send(pids, signal.SIGSTOP)
            yield
        finally:
            _send(pids, signal.SIGCONT)


@contextmanager
def _excused(context: Context) -> Iterator[None]:
    """Excuse answers that are late because the web server cannot answer."""
    began = time.monotonic()
    context.answers.frozen.append((began, began + 3600))
    try:
        yield
    finally:
        context.answers.frozen[-1] = (began, time.monotonic())


@contextmanager
def _without_files(context: Context) -> Iterator[None]:
    """Have a web process open no more files, and accept no more connections."""
    pids = context.system.pids("web")
    if not pids:
        yield
        return
    pid = context.choice.choice(pids[1:] or pids)
    with _excused(context), suppress(ProcessLookupError):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, hard))
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def _refusing(part: str, name: str, context: Context) -> Iterator[None]:
    with _client(part, context.system) as client, ExitStack() as stack:
        refuse, _ = REFUSALS[name]
        try:
            stack.enter_context(refuse(client))
            yield
        finally:
            # A server that was killed meanwhile has forgotten its settings.
            with suppress(redis.RedisError, OSError):
                stack.close()


@contextmanager
def _emptied(part: str, context: Context) -> Iterator[None]:
    with _client(part, context.system) as client, suppress(redis.RedisError):
        client.flushall()
    yield


@contextmanager
def _disconnected(part: str, context: Context) -> Iterator[None]:
    for _ in range(5):
        with _client(part, context.system) as client, suppress(redis.RedisError):
            client.client_kill_filter(_type="normal", skipme=True)
        time.sleep(0.1)
    yield


def _client(part: str, system: System) -> redis.Redis:
    return system.broker() if part == "broker" else system.cache()


@contextmanager
def _locked(table: str, context: Context) -> Iterator[None]:
    session = None
    with suppress(psycopg.Error):
        session = context.system.database()
        session.execute("SET lock_timeout = 2000")
        session.execute("BEGIN")
        session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    yield
    if session:
        session.close()


def administrator(system: System) -> psycopg.Connection:
    options = f"-c {_READ_ONLY}=off"
    return psycopg.connect(
        system.service("DATABASE_URL"), autocommit=True, connect_timeout=5, options=options, application_name="chaos"
    )


@contextmanager
def _sessions_ended(context: Context) -> Iterator[None]:
    with administrator(context.system) as admin:
        for _ in range(5):
            admin.execute(_TERMINATE)
            time.sleep(0.1)
    yield


@contextmanager
def _cancelled(context: Context) -> Iterator[None]:
    with administrator(context.system) as admin:
        for _ in range(20):
            admin.execute(_CANCEL)
            time.sleep(0.05)
    yield


@contextmanager
def _set(name: str, value: str, context: Context) -> Iterator[None]:
    """Change a setting of PostgreSQL, and end all sessions, so that it holds for all."""
    try:
        with administrator(context.system) as admin:
            admin.execute(f"ALTER SYSTEM SET {name} = {value}")
            admin.execute("SELECT pg_reload_conf()")
            admin.execute(_TERMINATE)
        yield
    finally:
        _insist(lambda: _reset(name, context.system))


def _reset(name: str, system: System) -> None:
    with administrator(system) as admin:
        admin.execute(f"ALTER SYSTEM RESET {name}")
        admin.execute("SELECT pg_reload_conf()")


@contextmanager
def _without_connections(context: Context) -> Iterator[None]:
    """Terminate all sessions and take every connection that is free, as soon as it is."""
    with ExitStack() as stack:
        with suppress(psycopg.OperationalError):
            admin = stack.enter_context(administrator(context.system))
            for _ in range(5):
                admin.execute(_TERMINATE)
                with suppress(psycopg.OperationalError):
                    for _ in range(_CONNECTIONS):
                        stack.enter_context(administrator(context.system))
        yield
        with suppress(psycopg.Error):
            stack.close()


@contextmanager
def _direct_api(fault: str, context: Context) -> Iterator[None]:
    context.direct_api.fault = fault
    try:
        yield
    finally:
        context.direct_api.fault = ""


@contextmanager
def _clocks(parts: Sequence[str], ahead: float, context: Context) -> Iterator[None]:
    """Set the clocks of parts, as of hosts on which they run."""
    for part in parts:
        context.system.set_clock(part, ahead)
    try:
        yield
    finally:
        for part in parts:
            context.system.set_clock(part, 0.0)


@contextmanager
def _full_disk(context: Context) -> Iterator[None]:
    ballast = context.system.data_dir / "ballast"
    try:
        _fill(ballast)
        yield
    finally:
        ballast.unlink(missing_ok=True)


def _fill(ballast: Path) -> None:
    with ballast.open("wb") as file:
        # In parts, because one that does not fit is undone; then what other processes have freed meanwhile.
        for size in (*_SIZES, *[_SIZES[-1]] * 20):
            with suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
            time.sleep(0.01)


def _insist(undo: Callable[[], object]) -> None:
    """Repeat what ends a fault until it succeeds: another fault may be in the way."""
    deadline = time.monotonic() + _UNDO_SECONDS
    while True:
        try:
            undo()
            return
        except psycopg.Error:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
