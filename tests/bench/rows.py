"""Fills a database with a million employees, for the benchmarks."""

import os
import sys
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# Long enough for production mode: some benchmarks start production servers.
os.environ.setdefault("SECRET_KEY", "measured-" * 8)
django.setup()

from django.core.management import call_command  # noqa: E402 (Django is set up by now)
from django.db import connection  # noqa: E402

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 1_000_000

_FIRST = "Иван Анна Пётр Мария Олег Елена Сергей Ольга Дмитрий Наталья Алексей Татьяна Андрей Ирина Михаил Светлана"
_LAST = "Иванов Петров Сидоров Кузнецов Смирнов Попов Лебедев Козлов Новиков Морозов Волков Соловьёв Зайцев Павлов"
# A third of the people have common surnames, the others rare ones.
_EMPLOYEES = """
INSERT INTO employees (phone, first_name, last_name, middle_name, max_id, role, university_id, profile_source,
    created_at, updated_at)
SELECT '+79' || lpad((n::bigint * 387420489 %% 999999937)::text, 9, '0'),
    CASE WHEN %(nameless)s THEN 'Неизвестно' ELSE (%(first)s::text[])[1 + n %% 16] END,
    CASE WHEN %(nameless)s THEN 'Неизвестно' WHEN n %% 3 = 0 THEN (%(last)s::text[])[1 + n %% 14]
    ELSE initcap(translate(substr(md5((n %% 40000)::text), 1, 4 + n %% 5), '0123456789abcdef', 'абвгдежиклмнопрс'))
        || 'ов' END,
    '', CASE WHEN %(nameless)s OR n %% 2 = 0 THEN n::text END, CASE WHEN n %% 1000 = 0 THEN 'curator' ELSE '' END,
    (%(universities)s::bigint[])[1 + n %% 20], 'manual',
    now() - n * interval '1 second', now()
FROM generate_series(%(start)s, %(stop)s) n
"""


def run(sql: str, **params: Any) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        return list(cursor.fetchall()) if cursor.description else []


def fill(rows: int = ROWS, *, start: int = 1, nameless: bool = False) -> None:
    """Insert employees of twenty universities, with realistic names; ``nameless`` ones all have a MAX id instead."""
    universities = run(
        "INSERT INTO universities (name, inn, kpp, created_at, updated_at) "
        "SELECT 'Вуз ' || n || '-' || %(start)s, '', '', now(), now() FROM generate_series(1, 20) n RETURNING id",
        start=start,
    )
    run(
        _EMPLOYEES,
        first=_FIRST.split(),
        last=_LAST.split(),
        universities=[row[0] for row in universities],
        nameless=nameless,
        start=start,
        stop=start + rows - 1,
    )
    run("VACUUM ANALYZE employees")


def migrate() -> None:
    call_command("migrate", verbosity=0)
