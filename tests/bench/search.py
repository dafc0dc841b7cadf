"""Measures searches among a million employees: ``python -m tests.servers python -m tests.bench.search [rows]``."""

from tests.bench.rows import ROWS, fill, migrate, run  # sets Django up

# isort: split
import statistics
import sys
import time
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from employees.models import Membership, University
from tests.conftest import client_of

LIMIT_MS = 50
REPEATS = 60
QUERIES = [
    "",
    "search=Иванов",
    "search=ИВАН",
    "search=кузнец",
    "search=абвг",
    "search=ова",
    "search=Иван Петров",
    "search=ив",
    "search=и",
    "search=ы",
    "search=абв иван",
    "search=нетникого",
    "search=100%25",
    "search=a_b",
    "search=%2B7900012",
    "search=8 987 420 48 9",
    "university_id=3",
    "university_id=3&search=петр",
    "profile_source=manual",
    "profile_source=webhook",
    "role=curator",
    "ordering=last_name",
    "ordering=-last_name",
    "ordering=phone",
    "ordering=-created_at",
    "ordering=-id&search=сидор",
]


def measure(client: APIClient, query: str) -> tuple[float, float, Any]:
    took = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        answer = client.get(f"/employees?{query}")
        took.append((time.perf_counter() - started) * 1000)
    if answer.status_code != 200:
        raise SystemExit(f"{query}: {answer.content!r}")
    return statistics.median(took), statistics.quantiles(took, n=20)[18], answer.json()["count"]


def main() -> None:
    settings.ALLOWED_HOSTS = ["*"]
    migrate()
    started = time.perf_counter()
    fill()
    size = run("SELECT pg_size_pretty(pg_relation_size('idx_employees_scoped_search'))")[0][0]
    sys.stdout.write(f"{ROWS} employees in {time.perf_counter() - started:.0f} s, search index {size}\n")
    curator = User.objects.create_user("curator")
    curator.groups.add(Group.objects.get(name="curator"))
    Membership.objects.create(user=curator, university=University.objects.all()[4])
    worst = 0.0
    for name, user in [("superadmin", User.objects.create_superuser("root")), ("curator", curator)]:
        client = client_of(user)
        sys.stdout.write(f"{name:10} {'p50 ms':>8} {'p95 ms':>8} {'count':>9}\n")
        for query in QUERIES:
            p50, p95, count = measure(client, query)
            worst = max(worst, p95)
            sys.stdout.write(f"{query or '(none)':30} {p50:8.1f} {p95:8.1f} {count:9}\n")
    sys.stdout.write(f"worst p95: {worst:.1f} ms (limit {LIMIT_MS})\n")
    sys.exit(worst > LIMIT_MS)


if __name__ == "__main__":
    main()
