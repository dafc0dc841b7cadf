"""The bucket of a phone is the same in Python and in SQL."""

import re
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles.rollout.decision import BUCKETS, bucket
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES

pytestmark = pytest.mark.django_db

# Whatever PostgreSQL keeps as text; a backslash and what looks like a code of its bytes is what a cast may stumble on.
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
    st.text(st.sampled_from("\\x07n'\"%{}:яё😀\n"), max_size=12),
)
phones = st.integers(10**7, 10**15 - 1).map("+{}".format)


def in_sql(salts: list[str], keys: list[str]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rollout_bucket(s, k) FROM unnest(%s::text[], %s::text[]) AS pair (s, k)", [salts, keys])
        return [row[0] for row in cursor.fetchall()]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(texts | st.just("migration"), texts | phones), min_size=1, max_size=40))
def test_python_and_sql_agree(pairs: list[tuple[str, str]]) -> None:
    expected = [bucket(salt, key) for salt, key in pairs]
    assert in_sql(*map(list, zip(*pairs, strict=True))) == expected
    assert all(0 <= number < BUCKETS for number in expected)


@pytest.mark.long
def test_both_use_every_bucket() -> None:
    keys = [f"+7916{number:07d}" for number in range(20 * BUCKETS)]
    assert set(in_sql([""] * len(keys), keys)) == set(range(BUCKETS))


def test_the_document_has_the_percentage_of_its_example() -> None:
    document = (django_settings.BASE_DIR / "docs/how-to/move-the-rollout.md").read_text()
    (phone,) = re.findall(r"rollout explain --phone (\+[0-9]+)", document)
    (example,) = re.findall(r"“Phase 3 is at[^”]*”", document)
    entry = bucket(Flag.objects.get(name=PHASES[2]).salt, phone) + 1
    assert re.findall(r"([0-9.]+)%", example)[1:] == [f"{Decimal(entry) / 100}"]


def test_without_a_key_there_is_no_bucket() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rollout_bucket('migration', NULL)")
        assert cursor.fetchone() == (None,)


def test_the_planner_puts_the_expression_in_place_of_the_call() -> None:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN VERBOSE SELECT rollout_bucket('migration', phone) FROM employees")
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("SELECT provolatile, proparallel FROM pg_proc WHERE proname = 'rollout_bucket'")
        assert cursor.fetchall() == [("i", "s")]
    assert "sha256" in plan
    assert "rollout_bucket" not in plan
