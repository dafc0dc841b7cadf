import time

import pytest
from django.db import OperationalError, connection

from config.postgres.base import statement_deadline


def query(seconds: float = 0) -> object:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])
        return cursor.fetchone()


@pytest.mark.django_db(transaction=True)
def test_it_waits_no_longer() -> None:
    started = time.monotonic()
    with pytest.raises(OperationalError), statement_deadline(0.1):
        query(0.6)
    assert time.monotonic() - started < 0.5
    assert query() is not None


@pytest.mark.django_db(transaction=True)
def test_without_time_nothing_is_asked() -> None:
    connection.close()
    with pytest.raises(OperationalError), statement_deadline(0):
        query()
    with statement_deadline(5):
        assert query() is not None
