"""Measures bytes per row in PostgreSQL and Redis, and projects the growth: ``make bench-sizes``.

Profiles and updates go through the inbox, as in production.
"""

from __future__ import annotations

import json
import logging
import random
import sys

from tests.bench.rows import fill, migrate, run  # sets Django up

# isort: split
from django.utils import timezone
from django_redis import get_redis_connection
from rich.console import Console
from rich.table import Table

from tests import loops
from tests.chaos.updates import generate
from webhooks.inbox import connect, store
from webhooks.processing import process_inbox
from webhooks.receiver import arrivals_in

PEOPLE = (10_000, 100_000, 1_000_000, 10_000_000)
# One update a day: three days of updates with a body, thirty days of rows.
_BODIES, _ROWS = 3, 30
_BATCH = 500


def collect(updates: int) -> None:
    """Store and process updates, ten for each person."""
    bodies = generate(random.Random(1), updates).bodies

    async def receive() -> None:
        async with await connect() as inbox:
            for start in range(0, updates, _BATCH):
                now = timezone.now()
                await store(inbox, [row for body in bodies[start : start + _BATCH] for row in arrivals_in(body, now)])

    loops.run(receive())
    while process_inbox():
        pass
    run("VACUUM ANALYZE profile_cache")
    run("VACUUM ANALYZE webhook_inbox")


def table_bytes(name: str) -> float:
    ((size, rows),) = run(f"SELECT pg_total_relation_size('{name}'), count(*) FROM {name}")  # noqa: S608 (our names)
    return float(str(size)) / max(int(str(rows)), 1)


def redis_bytes(used_before: int) -> float:
    client = get_redis_connection("default")
    return float(client.info("memory")["used_memory"] - used_before) / max(int(client.dbsize()), 1)


def measure(rows: int) -> dict[str, float]:
    migrate()
    fill(rows)
    run("UPDATE rollout_flag SET percent = 100 WHERE name IN ('phase1_infrastructure', 'phase2_collection')")
    used_before = get_redis_connection("default").info("memory")["used_memory"]
    collect(rows)
    with_body = table_bytes("webhook_inbox")
    run("UPDATE webhook_inbox SET body = NULL")
    run("VACUUM FULL webhook_inbox")
    return {
        "employee": table_bytes("employees"),
        "profile": table_bytes("profile_cache"),
        "profile in Redis": redis_bytes(used_before),
        "update with its body": with_body,
        "update without it": table_bytes("webhook_inbox"),
    }


def grown(sizes: dict[str, float], people: int) -> tuple[float, float]:
    """Return the bytes of PostgreSQL and of Redis for a number of people who each have a profile."""
    inbox = _BODIES * sizes["update with its body"] + (_ROWS - _BODIES) * sizes["update without it"]
    return people * (sizes["employee"] + sizes["profile"] + inbox), people * sizes["profile in Redis"]


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 50_000
    logging.disable(logging.WARNING)
    sizes = measure(rows)
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(sizes) + "\n")
        return
    measured = Table(
        "a row of", "bytes, indexes included", title=f"{rows} employees, {rows} updates of a tenth as many people"
    )
    for name, size in sizes.items():
        measured.add_row(name, f"{size:.0f}")
    projected = Table("people", "PostgreSQL", "Redis", title="one update a day for each person")
    for people in PEOPLE:
        disk, memory = grown(sizes, people)
        projected.add_row(f"{people:,}", f"{disk / 1e9:.1f} GB", f"{memory / 1e6:.0f} MB")
    console = Console()
    console.print(measured)
    console.print(projected)


if __name__ == "__main__":
    main()
