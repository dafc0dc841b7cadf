"""Django's PostgreSQL backend with deadlines for blocks of statements, commits that a crash does not undo, and metrics.

The client enforces the deadlines by cancelling statements. It changes no setting of the session for this, so the
deadlines also work through a connection pooler that gives each transaction another session.
"""

import select
import time
from collections.abc import Callable, Generator, Iterator, Set
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from threading import Thread
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import psycopg
from django.db import Error, OperationalError, connection, transaction
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property
from django.utils.translation import gettext_noop
from django_prometheus.db.backends.postgresql import base
from psycopg import generators, waiting
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGcancelConn

from config.postgres.pooler import DIRECT, closed_on_error, durable, recognise, set_durable

_CANCEL_SECONDS = 0.1
# For a commit: only PostgreSQL's answer says whether a cancelled commit is stored.
_COMMIT_CANCEL_SECONDS = 0.5
# A cancellation opens a connection, which takes longer on a busy server or with TLS, so a thread goes on with it.
_LATE_CANCEL_SECONDS = 10.0
# How long after the deadline a transaction may go on, in order to end; a standby may confirm its commit until then too.
# Without a limit, a transaction of many fast statements could go on forever.
GRACE_SECONDS = 1.0
_WRITES = ("INSERT", "UPDATE", "DELETE", "MERGE", "WITH")
# A commit waits for a standby only if its transaction has written something. This writes to the log only.
WRITE_TO_LOG = "SELECT pg_logical_emit_message(true, 'directory', '')"
# PostgreSQL ends a transaction that has waited this long for its process, which may be frozen or cut off: others would
# wait for its locks until somebody ends the session.
IDLE_TIMEOUT_MS = 10_000
# Django checks a connection before each request, and a query takes longer than most of a request's other queries. It is
# left out for so long after a check, if libpq knows of no change.
_CHECKED_SECONDS = 1.0
# PostgreSQL 14 and newer report them to the client.
_READ_ONLY_SETTINGS = (b"default_transaction_read_only", b"in_hot_standby")
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_waits_for_standby: ContextVar[bool] = ContextVar("waits_for_standby", default=True)
# The function of PostgreSQL that warns that a commit's wait for a standby was ended. The warning's text is translated.
END_OF_WAIT = "SyncRepWaitForLSN"
# For the WHERE of a single statement that commits as those in without_standby() do, without a transaction around it,
# which would keep its locks for two round trips more and, if this process stands still meanwhile, until it goes on.
# Inside a transaction, it has no effect, because that transaction may have to be confirmed.
COMMIT_LOCALLY = "set_config('synchronous_commit', 'local', true) = 'local'"


class _NotReplicated(psycopg.errors.QueryCanceled):
    pass


class _Unanswered(psycopg.errors.QueryCanceled):
    pass


class DeadlineConnection(psycopg.Connection):
    """A connection that waits for the server only until the deadline of the current ``statement_deadline`` block."""

    pooling = DIRECT
    # The functions of PostgreSQL that have sent a notice.
    noticed: Set[str | None] = frozenset()
    cancel_seconds = 0.0

    @classmethod
    def connect(cls, *args: Any, **options: Any) -> Self:
        opened = super().connect(*args, **options)
        with closed_on_error(opened):
            noticed: set[str | None] = set()
            opened.noticed = noticed
            # Not a method: a connection that refers to itself would stay open after its thread.
            opened.add_notice_handler(lambda notice: noticed.add(notice.source_function))
            opened.wait(recognise(opened))
            if not opened.pooling.is_pooled:
                opened.wait(set_durable(opened))
        return opened

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the server; raise _NotReplicated if a commit's wait for a standby was ended early.

        Such a commit is stored on this server only.
        """
        try:
            return self._wait(gen, interval, timeout)
        finally:
            if END_OF_WAIT in self.noticed:
                self.close()
                raise _NotReplicated("the commit is not on the standby")

    def commit(self) -> None:
        """Commit; raise _Unanswered if the connection is closed before PostgreSQL has answered."""
        self.cancel_seconds = _COMMIT_CANCEL_SECONDS
        was_open = not self.closed
        try:
            super().commit()
        except _NotReplicated:
            raise
        except psycopg.OperationalError as error:
            # A pooler whose server has died sends an error of class 08 (connection exception) itself.
            if was_open and self.closed and (error.diag.sqlstate or "08").startswith("08"):
                raise _Unanswered(*error.args) from error
            raise
        finally:
            self.cancel_seconds = 0.0

    def _wait(self, gen: Any, interval: float, timeout: float | None) -> Any:
        deadline = _deadline.get()
        if deadline is None:
            return super().wait(gen, interval, timeout)
        is_idle = self.pgconn.transaction_status == TransactionStatus.IDLE
        if time.monotonic() >= deadline + (0 if is_idle else GRACE_SECONDS):
            raise psycopg.errors.QueryCanceled("no time is left for the statement")
        try:
            return super().wait(gen, interval, max(deadline - time.monotonic(), _CANCEL_SECONDS))
        except psycopg.OperationalError:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self._cancel_statement(gen)
            is_idle = self.pgconn.transaction_status == TransactionStatus.IDLE
            if self.cancel_seconds and is_idle and END_OF_WAIT not in self.noticed:
                # The commit ended before its cancellation arrived.
                return None
            # Close the connection even if the statement succeeded. A cancelled commit that waited for a synchronous
            # standby succeeds on this server only. An administrator may have changed the setting under which commits
            # wait, but an open session would keep it.
            if is_idle:
                self.close()
            raise psycopg.errors.QueryCanceled("canceling statement at the deadline") from None

    def _cancel_statement(self, gen: Any) -> None:
        """Cancel the statement that is running; if it does not end in time, close the connection.

        If it were not cancelled, the server would continue to wait for a lock or to compute, although nobody waits for
        the result. If the statement ends with an error of its own, raise that error.
        """
        try:
            self.cancel_safe(timeout=max(_CANCEL_SECONDS, self.cancel_seconds))
            super().wait(gen, timeout=max(_CANCEL_SECONDS, self.cancel_seconds))
        except psycopg.OperationalError:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
        finally:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                late = self.pgconn.cancel_conn()
                self.close()
                Thread(target=_cancel_late, args=[late], name="cancel", daemon=True).start()

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Any]:
        connecting: Generator[Any, Any, Any] = super()._connect_gen(conninfo)
        ready = None
        while True:
            try:
                state = connecting.send(ready)
            except StopIteration as connected:
                return connected.value
            # Checked here, because the shortest connect_timeout of libpq is two seconds.
            if _is_over():
                raise psycopg.errors.ConnectionTimeout("no time is left to connect")
            ready = yield state


def _cancel_late(cancellation: PGcancelConn) -> None:
    """Ask PostgreSQL to cancel a statement whose connection is already closed; give up after _LATE_CANCEL_SECONDS.

    This is necessary for a commit that waits for a lost standby: PostgreSQL does not notice that the connection is
    closed, and keeps the transaction's locks until the commit is cancelled.
    """
    with suppress(psycopg.Error):
        cancellation.start()
        waiting.wait_conn(generators.cancel(cancellation), 1.0, _LATE_CANCEL_SECONDS)


# The messages to users about the two errors below, to be translated.
NOT_CONFIRMED = gettext_noop(
    "Stored on this server only: the standby has not confirmed the change, and a failover would lose it."
)
UNANSWERED = gettext_noop(
    "PostgreSQL did not answer in time, so it is unknown whether the change was stored. Check before you repeat it."
)


class CommitNotConfirmed(OperationalError):
    """Raised for a transaction that is stored on this server, but that a standby has not confirmed in time."""


class CommitUnanswered(OperationalError):
    """Raised for a transaction that may or may not be stored, because the connection was closed during its commit."""


class _ErrorWrapper(DatabaseErrorWrapper):
    """Convert psycopg's errors to Django's, and errors of commits to CommitNotConfirmed and CommitUnanswered."""

    wrapper: Any

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc_value, _NotReplicated | _Unanswered):
            self.wrapper.close()
            # Django must not reconnect at once: the error of a failed attempt would hide that the change is stored.
            self.wrapper.closed_in_transaction = True
            error_class = CommitNotConfirmed if isinstance(exc_value, _NotReplicated) else CommitUnanswered
            raise error_class(*exc_value.args) from exc_value
        super().__exit__(exc_type, exc_value, traceback)


def _errors_of_class(sqlstate_class: str) -> tuple[type[psycopg.Error], ...]:
    """Return psycopg's exceptions whose SQLSTATE is in this class, which is its first two characters."""
    candidates = [value for value in vars(psycopg.errors).values() if isinstance(value, type)]
    return tuple(error for error in candidates if str(getattr(error, "sqlstate", "")).startswith(sqlstate_class))


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]
    # A server that is read-only, in recovery, or that ends idle transactions counts as unavailable. These errors have a
    # SQLSTATE of class 25 (invalid transaction state); for psycopg they are InternalErrors, like faults of PostgreSQL.
    _UNAVAILABLE = (psycopg.OperationalError, *_errors_of_class("25"))
    Database = SimpleNamespace(
        **vars(psycopg) | {"connect": DeadlineConnection.connect, "OperationalError": _UNAVAILABLE}
    )

    # How long a statement may wait for a lock, and a transaction for its next statement; 0 means no limit. They are set
    # in each transaction, because a pooler's session serves other clients too.
    lock_timeout_ms = 0
    idle_timeout_ms = 0
    # How long a commit may wait, as it does for a lost synchronous standby; 0 means no limit.
    commit_seconds = 0.0
    _began_at = float("inf")
    _checked_at = float("-inf")
    _has_one_statement = False
    # How long the current transaction waits for a standby after its commit, which has released its locks; 0 means that
    # only the commit itself may wait.
    confirm_seconds = 0.0
    # Whether a transaction has been committed in a block that does not wait for a standby.
    is_unconfirmed = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.execute_wrappers.append(self._execute)

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        return _ErrorWrapper(self)

    def _execute(self, execute: Callable[..., Any], sql: Any, *arguments: Any) -> Any:
        """Run a statement, and start a transaction for it if necessary.

        Settings such as lock_timeout are always set for a transaction, never for the session.
        """
        text = str(sql)
        if COMMIT_LOCALLY in text:
            return execute(text.replace(COMMIT_LOCALLY, "true") if self.in_atomic_block else sql, *arguments)
        is_write = text.lstrip().upper().startswith(_WRITES)
        needs_transaction = self.lock_timeout_ms or (is_write and (self.commit_seconds or self._commit_setting()))
        if self.in_atomic_block or not needs_transaction:
            return execute(sql, *arguments)
        self._has_one_statement = True
        try:
            with transaction.atomic(self.alias):
                return execute(sql, *arguments)
        finally:
            self._has_one_statement = False

    def _set_autocommit(self, autocommit: bool) -> None:
        # Turning autocommit on sends PostgreSQL nothing. If it failed at the deadline, nothing that the connection
        # stores later, outside of transactions, would be committed.
        token = _deadline.set(None if autocommit else _deadline.get())
        self.confirm_seconds, self._began_at = 0.0, time.monotonic()
        try:
            super()._set_autocommit(autocommit)
        finally:
            _deadline.reset(token)
        if not autocommit and (statements := self._local_settings()):
            try:
                with self.wrap_database_errors:
                    self.connection.execute("; ".join(statements))
            except Error:
                self.close()
                raise

    def _commit(self) -> None:
        # A commit also checks deferred constraints, which takes less time than the transaction has taken.
        seconds = max(self.commit_seconds, time.monotonic() - self._began_at)
        with statement_deadline(seconds) if self.commit_seconds else nullcontext():
            super()._commit()
        if not _waits_for_standby.get():
            self.is_unconfirmed = True
        elif self.confirm_seconds:
            self._confirm(self.confirm_seconds)

    def _confirm(self, seconds: float) -> None:
        """Wait until a standby has confirmed the last commit; after ``seconds``, raise CommitNotConfirmed."""
        try:
            with statement_deadline(seconds, grace=GRACE_SECONDS):
                self.connection.execute("; ".join([*self._commit_setting(), WRITE_TO_LOG]))
                self.connection.commit()
        except psycopg.Error as error:
            self.close()
            # Django must not reconnect at once: the error of a failed attempt would hide that the change is stored.
            self.closed_in_transaction = True
            raise CommitNotConfirmed(*error.args) from error

    def _local_settings(self) -> list[str]:
        # Elsewhere, this would be one more round trip.
        is_limited = self._has_one_statement and (self.lock_timeout_ms or self._commit_setting())
        timeouts = {
            "lock_timeout": self.lock_timeout_ms,
            "idle_in_transaction_session_timeout": self.idle_timeout_ms or (IDLE_TIMEOUT_MS if is_limited else 0),
        }
        statements = [f"SET LOCAL {name} = {milliseconds}" for name, milliseconds in timeouts.items() if milliseconds]
        return [*statements, *self._commit_setting()]

    def _commit_setting(self) -> list[str]:
        """Return a list with the statement that sets synchronous_commit; [] if the session's setting is sufficient."""
        if _waits_for_standby.get():
            return [f"SELECT {durable('true')}"] if self.connection.pooling.is_pooled else []
        return ["SET LOCAL synchronous_commit = local"]

    def chunked_cursor(self) -> Any:
        """Return a server-side cursor, or an ordinary cursor if there is a pooler and no open transaction.

        A server-side cursor belongs to a session, which the pooler may give to another client between two statements.
        """
        self.ensure_connection()
        is_stable = self.in_atomic_block or not self.connection.pooling.is_pooled
        return super().chunked_cursor() if is_stable else self.cursor()

    def is_usable(self) -> bool:
        """Return whether the connection works and may write.

        If default_transaction_read_only was set for the role or the database when the connection was opened, the
        connection stays read-only even after the setting has been removed, so it must not be reused.
        """
        if self.connection is None or self.connection.closed:
            return False
        now = time.monotonic()
        try:
            if now < self._checked_at + _CHECKED_SECONDS and _seems_unchanged(self.connection):
                return True
            self._checked_at = float("-inf")
            with self.connection.cursor() as cursor:
                cursor.execute("SHOW transaction_read_only")
                is_usable = bool(cursor.fetchone() == ("off",))
        except psycopg.Error:
            return False
        if is_usable:
            self._checked_at = now
        return is_usable

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if _is_over():
            raise psycopg.OperationalError("no time is left to connect")
        return super().get_new_connection(conn_params)


def _seems_unchanged(connection: DeadlineConnection) -> bool:
    """Return whether an idle connection may write, as far as libpq knows without asking PostgreSQL.

    PostgreSQL reports read-only settings with its next answer after they change. If data has arrived, it may be the end
    of the connection.
    """
    pgconn = connection.pgconn
    if connection.pooling.is_pooled or pgconn.transaction_status != TransactionStatus.IDLE:
        return False
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)
    return not poll.poll(0) and all(pgconn.parameter_status(name) == b"off" for name in _READ_ONLY_SETTINGS)


def parameters(database: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return psycopg's parameters for a connection to ``database``, by default to the database that Django uses.

    ``database`` has the form of an entry in DATABASES. Django's cursor class is left out, because it would bind
    parameters as text.
    """
    settings = DatabaseWrapper(connection.settings_dict | database) if database else connection
    return {name: value for name, value in settings.get_connection_params().items() if name != "cursor_factory"}


@contextmanager
def statement_deadline(seconds: float, *, grace: float = 0.0) -> Iterator[None]:
    """Set a deadline for the statements of the block, ``seconds`` from now; late statements raise OperationalError.

    A statement that is still running at the deadline is cancelled. If the server does not react to the cancellation
    within _CANCEL_SECONDS, the connection is closed, and a thread continues the cancellation.

    If there is an outer block, its deadline applies too, but ``grace`` seconds later.
    """
    outer = _deadline.get()
    ends_at = time.monotonic() + seconds
    token = _deadline.set(ends_at if outer is None else min(outer + grace, ends_at))
    try:
        yield
    finally:
        if connection.connection is not None and connection.connection.closed:
            connection.close()
        _deadline.reset(token)


@contextmanager
def without_standby(is_lost: bool = True) -> Iterator[None]:
    """Commit the transactions of the block without waiting for a synchronous standby.

    They survive a crash of the server, but a failover may lose them. Use this only for data that may be lost, or that a
    standby confirms later. With ``is_lost=False``, wait for the standby, even inside another such block.
    """
    token = _waits_for_standby.set(not is_lost)
    try:
        yield
    finally:
        _waits_for_standby.reset(token)


def seconds_left() -> float | None:
    """Return the seconds until the deadline of the current block, negative after it; None without a deadline."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


def _is_over() -> bool:
    left = seconds_left()
    return left is not None and left <= 0
