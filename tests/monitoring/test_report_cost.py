"""Reports never scan a growing table entirely (make bench-monitoring measures the times)."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.stats import cached, reports
from webhooks.models import InboxUpdate

GROWING = ("employees", "profile_cache", "webhook_inbox", "webhook_repeats", "monitoring_traffic")
REPORTS: dict[str, Callable[[], Any]] = {
    "coverage": reports.coverage,
    "quality": reports.quality,
    **{period: partial(reports.webhook_stats, period) for period in reports.PERIODS},
    "cache": reports.cache_health,
}

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "phases")]


def plans(work: Callable[[], Any]) -> Iterator[str]:
    """Yield the query plans, with sequential scans only where no index helps."""
    with CaptureQueriesContext(connection) as captured:
        work()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for query in captured.captured_queries:
            if query["sql"].split(maxsplit=1)[0] in ("SELECT", "WITH"):
                cursor.execute("EXPLAIN " + query["sql"].replace("%", "%%"))
                yield "\n".join(row[0] for row in cursor.fetchall())


def scanned_tables(work: Callable[[], Any]) -> set[str]:
    found = list(plans(work))
    return {table for table in GROWING for plan in found if f"Seq Scan on {table} " in plan}


@pytest.mark.parametrize("name", REPORTS)
def test_no_large_table_is_read_entirely(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(cached, "SMALL_BYTES", -1)
    cached.take()
    assert scanned_tables(REPORTS[name]) == set()


def test_it_detects_a_full_scan() -> None:
    assert scanned_tables(cached.STATISTICS["profiles"].compute) == {"profile_cache"}
    assert scanned_tables(lambda: list(InboxUpdate.objects.filter(reason="x"))) == {"webhook_inbox"}
