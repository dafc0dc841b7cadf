"""Django's PostgreSQL backend with the metrics of django-prometheus and with deadlines for blocks of statements."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import psycopg
from django.db import connection
from django_prometheus.db.backends.postgresql import base

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class DeadlineConnection(psycopg.Connection):
    """Wait for the server only until the deadline of the current ``statement_deadline`` block."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        deadline = _deadline.get()
        if deadline is not None:
            timeout = max(deadline - time.monotonic(), 0.01)
        return super().wait(gen, interval, timeout)


def _errors_of_class(sqlstate_class: str) -> tuple[type[psycopg.Error], ...]:
    """Return the exceptions whose SQLSTATE begins with the two characters of a class."""
    candidates = [value for value in vars(psycopg.errors).values() if isinstance(value, type)]
    return tuple(error for error in candidates if str(getattr(error, "sqlstate", "")).startswith(sqlstate_class))


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]
    # A server that is read-only, in recovery, or that ends idle transactions counts as unavailable. These errors have a
    # SQLSTATE of class 25 (invalid transaction state); for psycopg they are InternalErrors, like faults of PostgreSQL.
    _UNAVAILABLE = (psycopg.OperationalError, *_errors_of_class("25"))
    Database = SimpleNamespace(
        **vars(psycopg) | {"connect": DeadlineConnection.connect, "OperationalError": _UNAVAILABLE}
    )

    def is_usable(self) -> bool:
        """Return whether the connection works and may write.

        A connection that was opened while default_transaction_read_only was set for the role or the database stays
        read-only after that, so it must not be reused.
        """
        if self.connection is None:
            return False
        try:
            with self.connection.cursor() as cursor:
                cursor.execute("SHOW transaction_read_only")
                return bool(cursor.fetchone() == ("off",))
        except psycopg.Error:
            return False

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if _is_over():
            raise psycopg.OperationalError("no time is left to connect")
        return super().get_new_connection(conn_params)


@contextmanager
def statement_deadline(seconds: float) -> Iterator[None]:
    """Limit the time that the block waits for PostgreSQL; raise OperationalError for waits after the deadline.

    Opening a connection may take up to two seconds more. A statement that missed the deadline leaves its connection in
    an unknown state, so the connection is closed at the end of the block.
    """
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        if _is_over():
            connection.close()
        _deadline.reset(token)


def _is_over() -> bool:
    deadline = _deadline.get()
    return deadline is not None and time.monotonic() >= deadline
