"""PostgreSQL's own log shows what went wrong, and nothing personal."""

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from employees.models import Employee, University
from tests.servers import servers

PHONE = "+79160000042"


@pytest.fixture
def employee(university: University) -> Employee:
    return Employee.objects.create(phone=PHONE, first_name="Евпраксия", university=university)


def log() -> str:
    return (servers.folder / "postgres.log").read_text()


@pytest.mark.django_db
def test_a_refused_row_is_logged_without_phone_and_names(employee: Employee) -> None:
    already = len(log())
    with pytest.raises(IntegrityError), transaction.atomic():
        Employee.objects.create(phone=PHONE, first_name="Евпраксия", university=employee.university)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE employees SET first_name = 'Евпраксия', max_id = repeat('9', 100)")
    logged = log()[already:]
    assert "duplicate key value violates unique constraint" in logged
    assert "value too long" in logged
    for text in (PHONE, PHONE[1:], "Евпраксия", "UPDATE", "INSERT"):
        assert text not in logged


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_min_error_statement", "panic"),
        ("log_error_verbosity", "terse"),
        ("log_parameter_max_length_on_error", "0"),
        ("log_statement", "none"),
        ("log_min_duration_statement", "-1"),
    ],
)
def test_no_option_lets_statements_or_parameters_in(name: str, value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        assert cursor.fetchone() == (value,)
