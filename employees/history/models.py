"""Record every version of employees and universities, with the user who made the change in the admin or the API."""

from datetime import datetime
from functools import cache
from typing import Any, ClassVar, NamedTuple

from django.db import connection, models
from django.dispatch import receiver
from django.utils.translation import gettext_lazy as _
from simple_history import register
from simple_history.manager import HistoryManager
from simple_history.signals import pre_create_historical_record
from simple_history.utils import get_history_model_for_model

from employees.models import Employee, University


class _VersionManager(HistoryManager):  # type: ignore[misc]
    """Manage versions as simple_history does, but define the manager's class once.

    ``HistoryManager.from_queryset`` would define a new class at each access to ``history``.
    """

    @classmethod
    @cache
    def from_queryset(cls, queryset_class: Any, class_name: str | None = None) -> Any:
        return super().from_queryset(queryset_class, class_name)


# Versions are queried only by object and by date; more indexes would slow down every create.
register(
    Employee,
    app="employees.history",
    verbose_name=_("employee record version"),
    verbose_name_plural=_("employee record versions"),
    history_id_field=models.BigAutoField(primary_key=True),
    history_manager=_VersionManager,
    no_db_index=["phone", "university"],
)
register(
    University,
    app="employees.history",
    verbose_name=_("university record version"),
    verbose_name_plural=_("university record versions"),
    history_id_field=models.BigAutoField(primary_key=True),
    history_manager=_VersionManager,
)

EmployeeVersion = get_history_model_for_model(Employee)
UniversityVersion = get_history_model_for_model(University)


class FormerMaxIdClaim(models.Model):
    """A MAX ID that was once entered by hand for an employee and never confirmed.

    The ID has been replaced since, or the employee has been deleted. Versions of the employee with this ID are data of
    the employee, not of the MAX user who has the ID.
    """

    employee_id = models.BigIntegerField(_("employee"))
    max_id = models.CharField(_("MAX ID"), max_length=64)

    class Meta:
        app_label = "employee_history"
        db_table = "former_max_id_claims"
        verbose_name = _("former manually entered MAX ID")
        verbose_name_plural = _("former manually entered MAX IDs")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["max_id", "employee_id"], name="former_max_id_claims_unique")
        ]

    def __str__(self) -> str:
        return str(self.pk)


_BACKFILLED = """
SELECT b.created_at, b.run_id, b.status = 'undone', c.v->1->>1 || ' ' || (c.v->1->>0), c.v->2->>1 || ' ' || (c.v->2->>0)
FROM backfill_batches b CROSS JOIN LATERAL jsonb_array_elements(b.changes) AS c (v)
WHERE b.after_id < %(id)s AND b.until_id >= %(id)s AND b.rows_changed > 0 AND (c.v->>0)::bigint = %(id)s
ORDER BY b.created_at DESC
"""


class BackfilledName(NamedTuple):
    at: datetime
    run_id: int
    is_undone: bool
    before: str
    after: str


def backfilled_names(employee_id: int) -> list[BackfilledName]:
    """Return the names that backfills have set for the employee, latest first.

    They are read from the batches: recording a version of each row would double the work of a backfill.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BACKFILLED, {"id": employee_id})
        return [BackfilledName(*row) for row in cursor.fetchall()]


def record_original(employee: Employee) -> None:
    """Before a change, record the employee's present values as the first version, if the history has no version yet."""
    versions = EmployeeVersion.objects.filter(id=employee.pk)
    if not versions.exists():
        values = {field.attname: getattr(employee, field.attname) for field in EmployeeVersion.tracked_fields}
        versions.create(**values, history_date=employee.updated_at, history_type="+")


def record_versions(employees: list[Employee]) -> None:
    """Record new versions of employee records that were changed without ``save()``, in one statement."""
    if employees:
        Employee.history.bulk_history_create(employees, update=True)  # type: ignore[attr-defined]


@receiver(pre_create_historical_record)
def name_api_key(history_instance: Any, history_user: Any, **_: Any) -> None:
    """Record in a version's change reason which API key made it, because the version's user is the key's owner."""
    if key := getattr(history_user, "api_key", None):
        history_instance.history_change_reason = f"API key: {key}"
