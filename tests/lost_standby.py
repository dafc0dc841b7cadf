"""A synchronous standby that does not exist, for which the commits of a server wait."""

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

# It writes to the log only. With a synchronous standby, its commit waits as any other.
WRITE = "SELECT pg_logical_emit_message(true, 'test', '')"


def lose_standby(admin: psycopg.Connection) -> None:
    """Have the commits on the server of this session wait for a standby, and wait until they do."""
    set_option(admin, "synchronous_standby_names = 'nobody'")
    deadline = time.monotonic() + 60
    while not _waits(admin):
        assert time.monotonic() < deadline, "the setting has no effect"
        time.sleep(0.05)


def _waits(admin: psycopg.Connection) -> bool:
    with psycopg.connect(admin.info.dsn, autocommit=True) as session, ThreadPoolExecutor(1) as pool:
        written = pool.submit(session.execute, WRITE)
        while not written.done():
            if end_waits(admin):
                return True
            time.sleep(0.01)
    return False


def end_waits(admin: psycopg.Connection) -> int:
    """Cancel the commits that wait, which are stored on this server then; return how many there were."""
    return admin.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").rowcount


def set_option(admin: psycopg.Connection, assignment: str) -> None:
    """Set an option of the server, and wait until its sessions have it."""
    name, value = assignment.replace("'", "").split(" = ")
    admin.execute(f"ALTER SYSTEM SET {assignment}".encode())
    admin.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 60
    while _current(admin, name) != value:
        assert time.monotonic() < deadline, "the setting has no effect"
        time.sleep(0.01)


def _current(admin: psycopg.Connection, name: str) -> object:
    # A session reads its configuration again before its next statement; one that is new has that of its server.
    with psycopg.connect(admin.info.dsn, autocommit=True) as session:
        row = session.execute("SELECT current_setting(%s)", [name]).fetchone()
    return row and row[0]
