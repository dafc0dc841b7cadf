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


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]
    # A server that is read-only, after a failover or by default_transaction_read_only, counts as unavailable. For
    # psycopg it is an InternalError, like errors of PostgreSQL itself.
    _UNAVAILABLE = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction)
    Database = SimpleNamespace(
        **vars(psycopg) | {"connect": DeadlineConnection.connect, "OperationalError": _UNAVAILABLE}
    )

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
    deadline, outer = time.monotonic() + seconds, _deadline.get()
    token = _deadline.set(deadline if outer is None else min(deadline, outer))
    try:
        yield
    finally:
        if _is_over():
            connection.close()
        _deadline.reset(token)


def _is_over() -> bool:
    deadline = _deadline.get()
    return deadline is not None and time.monotonic() >= deadline
