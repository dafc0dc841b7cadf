"""Every version of an employee and a university, with who made it; a user of the API counts like one of the admin."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection, models
from django.utils.translation import gettext_lazy as _
from simple_history import register
from simple_history.utils import get_history_model_for_model

from employees.models import Employee, University

# An index for each way to search would cost every create; found by object and by date.
register(
    Employee,
    app="employees.history",
    verbose_name=_("version of an employee"),
    verbose_name_plural=_("versions of employees"),
    history_id_field=models.BigAutoField(primary_key=True),
    no_db_index=["phone", "university"],
)
register(
    University,
    app="employees.history",
    verbose_name=_("version of a university"),
    verbose_name_plural=_("versions of universities"),
    history_id_field=models.BigAutoField(primary_key=True),
)

EmployeeVersion = get_history_model_for_model(Employee)
UniversityVersion = get_history_model_for_model(University)


@dataclass(frozen=True, slots=True)
class Backfilled:
    """A name that a backfill gave, and the one that was there; a run that was undone gave it back."""

    at: datetime
    run_id: int
    is_undone: bool
    before: str
    after: str


_BACKFILLED = """
SELECT b.created_at, b.run_id, b.status = 'undone', c.v->1->>1 || ' ' || (c.v->1->>0), c.v->2->>1 || ' ' || (c.v->2->>0)
FROM backfill_batches b CROSS JOIN LATERAL jsonb_array_elements(b.changes) AS c (v)
WHERE b.after_id < %(id)s AND b.until_id >= %(id)s AND b.rows_changed > 0 AND (c.v->>0)::bigint = %(id)s
ORDER BY b.created_at DESC
"""


def backfilled(employee_id: int) -> list[Backfilled]:
    """Return what backfills did: they keep the names they change, a version of each row would double their work."""
    with connection.cursor() as cursor:
        cursor.execute(_BACKFILLED, {"id": employee_id})
        return [Backfilled(*row) for row in cursor.fetchall()]


def remember(employee: Employee) -> None:
    """Keep a row as it was before its first change: those from before the history have no version to compare with."""
    versions = EmployeeVersion.objects.filter(id=employee.pk)
    if not versions.exists():
        values = {field.attname: getattr(employee, field.attname) for field in EmployeeVersion.tracked_fields}
        versions.create(**values, history_date=employee.updated_at, history_type="+")


def keep_versions(employees: list[Employee]) -> None:
    """Record, by one statement, rows that were changed past ``save()``."""
    if employees:
        Employee.history.bulk_history_create(employees, update=True)  # type: ignore[attr-defined]
