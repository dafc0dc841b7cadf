import os
from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from rest_framework.test import APIClient

from employees.models import Membership, University
from profiles.phones import normalize
from tests.conftest import client_of

AsRole = Callable[..., APIClient]

# `make test-migrations` sets a million.
ROWS = int(os.environ.get("MIGRATION_ROWS", "50000"))
# For tests that do not depend on the size of the table: only the long run takes all rows.
FEW = ROWS if "MIGRATION_ROWS" in os.environ else ROWS // 10


def invalid_phone() -> str:
    """Return the error for an invalid phone."""
    try:
        return normalize("12")
    except ValueError as error:
        return str(error)


@pytest.fixture
def as_role(db: None) -> AsRole:
    """Return a function that makes a client with a role, at a university or at none."""

    def client(role: str | None, university: University | None = None) -> APIClient:
        user = User.objects.create_user(f"{role}-{User.objects.count()}")
        if role:
            user.groups.add(Group.objects.get_or_create(name=role)[0])
        if university:
            Membership.objects.create(user=user, university=university)
        return client_of(user)

    return client


@pytest.fixture
def people(university: University, request: pytest.FixtureRequest) -> None:
    """Fill the directory with ROWS employees, or with as many as the test sets by parametrize."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO employees
                (phone, first_name, last_name, middle_name, role, university_id, created_at, updated_at)
            SELECT '+79' || lpad(n::text, 9, '0'), 'Иван', 'Петров' || n, '', '', %s, now(), now()
            FROM generate_series(1, %s) n
            """,
            [university.pk, getattr(request, "param", ROWS)],
        )
