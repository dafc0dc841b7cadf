"""Django's PostgreSQL backend with django-prometheus's metrics and a deadline for a block of statements."""

from __future__ import annotations

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
    """Wait for the server only up to the deadline of the current block."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        deadline = _deadline.get()
        if deadline is not None:
            timeout = max(deadline - time.monotonic(), 0.01)
        return super().wait(gen, interval, timeout)


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]
    Database = SimpleNamespace(**vars(psycopg) | {"connect": DeadlineConnection.connect})

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if _is_over():
            raise psycopg.OperationalError("no time is left to connect")
        return super().get_new_connection(conn_params)


@contextmanager
def statement_deadline(seconds: float) -> Iterator[None]:
    """Limit the waits for PostgreSQL in this block; what takes longer raises OperationalError.

    A new connection may take up to two seconds more. A statement that missed the deadline leaves its connection in an
    unknown state, so it is closed without asking the server.
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
