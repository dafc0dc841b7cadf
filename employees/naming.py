"""How an employee's row takes a name: at its creation, by hand, and later, when an outage is over."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from employees.backfill.candidates import Terms, choices, middle_name
from employees.history.models import remember
from employees.models import Employee, UnresolvedName
from employees.models.jobs import FIRST_RETRY
from profiles import names
from profiles.models import ProfileSource
from profiles.name_rule import NameChoice

NAMES = ("first_name", "last_name", "middle_name")


def create_employee(name: NameChoice, **fields: Any) -> Employee:
    """Insert an employee; remember that nobody could be asked, if so."""
    employee = Employee(
        **fields | {"middle_name": fields.get("middle_name") or name.middle_name},
        first_name=name.first_name,
        last_name=name.last_name,
        max_id=name.max_id,
        max_id_updated_at=timezone.now() if name.max_id else None,
        profile_source=name.source,
        profile_last_updated=name.updated_at,
    )
    employee.save(force_insert=True)
    if name.is_unresolved:
        UnresolvedName.objects.create(employee=employee, next_try_at=timezone.now() + FIRST_RETRY)
    return employee


def update_employee(employee: Employee, given: dict[str, Any], *, may_clear: bool = False) -> None:
    """Apply what was given by hand to a row that the caller has locked.

    A changed name is ``manual`` from now on. An empty name or MAX id changes nothing unless ``may_clear``: clients of
    the API send whole objects.
    """
    changed = {
        field: value
        for field, value in given.items()
        if getattr(employee, field) != value and (value or may_clear or field not in (*NAMES, "max_id"))
    }
    if not changed:
        return
    if changed.keys() & set(NAMES):
        changed |= {"profile_source": ProfileSource.MANUAL, "profile_last_updated": None}
        UnresolvedName.objects.filter(employee=employee).delete()
    if "max_id" in changed:
        changed["max_id_updated_at"] = timezone.now()
    remember(employee)
    for field, value in changed.items():
        setattr(employee, field, value)
    employee.save(update_fields=[*changed, "updated_at"])


def set_name_source(employee: Employee, *, is_named: bool) -> None:
    """Before a row is saved that was entered by hand or came from a file: say who answers for its name."""
    if is_named:
        employee.profile_source, employee.profile_last_updated = ProfileSource.MANUAL, None
    elif employee._state.adding:  # noqa: SLF001 (documented by Django)
        employee.profile_source = ProfileSource.DEFAULT


def schedule_lookup(employee: Employee) -> None:
    """Have a nameless row asked about by the task, which keeps to the pace of the direct API."""
    if employee.profile_source == ProfileSource.DEFAULT:
        UnresolvedName.objects.get_or_create(employee=employee, defaults={"next_try_at": timezone.now()})


@transaction.atomic
def apply_late_name(unresolved: UnresolvedName, name: NameChoice) -> None:
    """Give an employee the name that was owed, unless somebody has named them meanwhile, and forget the debt."""
    employee = Employee.objects.select_for_update().filter(pk=unresolved.pk).first()
    if employee is not None and name.is_named:
        if employee.profile_source == ProfileSource.DEFAULT:
            _take(employee, name)
        else:
            # A lone name was given by hand and holds; only what is missing is filled in.
            for field in ("first_name", "last_name"):
                if getattr(employee, field) == names.UNKNOWN:
                    setattr(employee, field, getattr(name, field))
            _link(employee, name)
        employee.save()
    unresolved.delete()


def _take(employee: Employee, name: NameChoice) -> None:
    employee.middle_name = middle_name(employee.profile_source, employee.middle_name, name)
    employee.first_name, employee.last_name = name.first_name, name.last_name
    employee.profile_source, employee.profile_last_updated = name.source, name.updated_at
    _link(employee, name)


def _link(employee: Employee, name: NameChoice) -> None:
    if name.max_id and not employee.max_id:
        employee.max_id, employee.max_id_updated_at = name.max_id, timezone.now()


@transaction.atomic
def refresh(employee_id: int) -> bool:
    """Give an employee the name that the cache has now, as a backfill that replaces names would; return if it did."""
    terms = Terms.read(replaces_names=True)
    for _, name in choices(terms, after_id=employee_id - 1, until_id=employee_id, is_locked=True):
        employee = Employee.objects.get(pk=employee_id)
        remember(employee)
        _take(employee, name)
        employee.save()
        UnresolvedName.objects.filter(employee=employee).delete()
        return True
    return False
