"""The SQL of the migration guide runs on our tables as it is written there."""

import pytest
from django.db import connection

from employees.models import Employee, University
from tests.profiles.people import add_profile

pytestmark = pytest.mark.django_db

ASSESSMENT = """
-- Check current employee data
SELECT 
    COUNT(*) as total_employees,
    COUNT(CASE WHEN first_name != 'Неизвестно' THEN 1 END) as employees_with_names,
    COUNT(CASE WHEN max_id IS NOT NULL THEN 1 END) as employees_with_max_id
FROM employees;
"""  # noqa: W291 (as written)
DISTRIBUTION = """
-- Check name source distribution (if profile_source column exists)
SELECT profile_source, COUNT(*) 
FROM employees 
WHERE profile_source IS NOT NULL 
GROUP BY profile_source;
"""  # noqa: W291
PHASE_3 = """
SELECT profile_source, COUNT(*) 
FROM employees 
GROUP BY profile_source;
"""  # noqa: W291
MONTHLY = """
SELECT profile_source, COUNT(*), 
       ROUND(COUNT(*) * 100.0 / SUM(COUNT(*)) OVER(), 2) as percentage
FROM employees 
GROUP BY profile_source;
"""  # noqa: W291
MIGRATION = """
-- Add profile source tracking columns
ALTER TABLE employees 
ADD COLUMN IF NOT EXISTS profile_source VARCHAR(20) DEFAULT 'manual',
ADD COLUMN IF NOT EXISTS profile_last_updated TIMESTAMP;

-- Create index for profile source queries
CREATE INDEX IF NOT EXISTS idx_employees_profile_source ON employees(profile_source);

-- Update existing records to have 'manual' source
UPDATE employees 
SET profile_source = 'manual' 
WHERE profile_source IS NULL;
"""  # noqa: W291
BACKFILL = """
-- Create a script to backfill profile sources
UPDATE employees 
SET profile_source = 'webhook',
    profile_last_updated = NOW()
WHERE max_id IS NOT NULL 
  AND max_id IN (
    SELECT DISTINCT user_id 
    FROM profile_cache 
    WHERE first_name IS NOT NULL
  );
"""  # noqa: W291


@pytest.fixture(autouse=True)
def _people(university: University) -> None:
    add_profile("7", is_cached=False)
    for number, max_id in enumerate(["7", "8", None]):
        Employee.objects.create(phone=f"+7916000000{number}", max_id=max_id, university=university)
    Employee.objects.create(phone="+79160000009", first_name="Анна", university=university)


def rows(sql: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


def test_the_assessment() -> None:
    assert rows(ASSESSMENT) == [(4, 1, 2)]


@pytest.mark.parametrize("sql", [DISTRIBUTION, PHASE_3])
def test_the_distribution(sql: str) -> None:
    assert rows(sql) == [("manual", 4)]


def test_the_monthly_distribution() -> None:
    assert [(source, count, float(str(share))) for source, count, share in rows(MONTHLY)] == [("manual", 4, 100.0)]


def test_its_migration_finds_nothing_to_do() -> None:
    rows("SET CONSTRAINTS ALL IMMEDIATE")
    rows(MIGRATION)
    assert rows(DISTRIBUTION) == [("manual", 4)]


def test_its_backfill() -> None:
    rows(BACKFILL)
    assert sorted(rows(PHASE_3)) == [("manual", 3), ("webhook", 1)]
