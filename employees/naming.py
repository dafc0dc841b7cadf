"""Set employees' names: at creation, by hand, from the cache, and after an outage of the direct API."""

import time
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from config.lib import clock, request_id, tracing
from employees import max_id_claims
from employees.backfill.candidates import DecisionContext, choices, middle_name
from employees.history.models import record_original
from employees.models import FIRST_RETRY, LONGEST_RETRY, Employee, UnresolvedName
from profiles import names
from profiles.lookup import resolve
from profiles.models import ProfileSource
from profiles.name_rule import NameChoice

NAMES = ("first_name", "last_name", "middle_name")


def create_employee(name: NameChoice, *, has_claimed_id: bool = False, **fields: Any) -> Employee:
    """Insert an employee; schedule another lookup of the name if the direct API failed.

    ``has_claimed_id`` means that the MAX ID was entered by a user who does not see all universities.
    """
    name = _unless_erased(name)
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
    if has_claimed_id:
        max_id_claims.record(employee, is_limited=True)
    if name.is_unresolved:
        next_try_at = timezone.now() + FIRST_RETRY
        request = request_id.current.get()
        UnresolvedName.objects.create(employee=employee, next_try_at=next_try_at, request_id=request)
    return employee


def _unless_erased(name: NameChoice) -> NameChoice:
    """Return the name; if the person was erased after the cache was read, leave out the data from the cache.

    An erasure that begins later waits until this transaction ends, and then erases the stored name too.
    """
    if not (name.is_cached or name.if_erased):
        return name
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM profile_cache WHERE user_id = %s FOR KEY SHARE", [name.max_id])
        return name if cursor.fetchone() else name.if_erased or NameChoice(max_id=name.max_id)


def update_employee(
    employee: Employee, values: dict[str, Any], *, is_limited: bool = False, may_clear: bool = False
) -> None:
    """Apply values entered by hand to a row that the caller has locked; a changed name gets the source ``manual``.

    Unless ``may_clear`` is set, ignore an empty name or MAX ID: API clients send all fields, including those that they
    do not mean to clear. ``is_limited`` means that the user does not see all universities, and so cannot vouch for a
    new MAX ID.
    """
    changed = {
        field: value
        for field, value in values.items()
        if getattr(employee, field) != value and (value or may_clear or field not in (*NAMES, "max_id"))
    }
    if not changed:
        return
    if changed.keys() & set(NAMES):
        changed |= {"profile_source": ProfileSource.MANUAL, "profile_last_updated": None}
        UnresolvedName.objects.filter(employee=employee).delete()
    if "max_id" in changed:
        changed["max_id_updated_at"] = timezone.now()
    record_original(employee)
    for field, value in changed.items():
        setattr(employee, field, value)
    employee.save(update_fields=[*changed, "updated_at"])
    if "max_id" in changed:
        max_id_claims.record(employee, is_limited=is_limited)


@transaction.atomic
def refresh(employee_id: int) -> bool:
    """Set an employee's name from the cache, as a backfill that replaces names would; return whether it changed."""
    context = DecisionContext.read(replaces_names=True)
    for _, name in choices(context, after_id=employee_id - 1, until_id=employee_id, is_locked=True):
        employee = Employee.objects.get(pk=employee_id)
        record_original(employee)
        _set_name(employee, name)
        employee.save()
        UnresolvedName.objects.filter(employee=employee).delete()
        return True
    return False


def retry_unresolved(until: float) -> None:
    """Look up unresolved names that are due, the oldest first.

    Stop at the monotonic time ``until``, or when the direct API fails.
    """
    while time.monotonic() < until:
        due = UnresolvedName.objects.filter(clock.is_due("next_try_at", LONGEST_RETRY)).select_related("employee")
        unresolved = due.order_by("next_try_at").first()
        if unresolved is None:
            return
        # Postpone before the lookup: a parallel worker, or the next worker after a crash, then takes another name.
        unresolved.postpone()
        unresolved.save(update_fields=["attempts", "next_try_at"])
        employee = unresolved.employee
        is_claimed = bool(max_id_claims.nameless([employee.pk]))
        ids: dict[str, Any] = {"max_id": employee.max_id, "university_id": employee.university_id}
        with request_id.continued(unresolved.request_id), tracing.continued("look up unresolved name"):
            name = resolve(phone=employee.phone, **ids, is_claimed=is_claimed)
        max_id_claims.forget_confirmed(employee)
        if name.is_unresolved:
            return
        apply_late_name(unresolved, name)


@transaction.atomic
def apply_late_name(unresolved: UnresolvedName, name: NameChoice) -> None:
    """Set the name that a retry found, unless somebody has entered a name in the meantime, and end the retries."""
    name = _unless_erased(name)
    employee = Employee.objects.select_for_update().filter(pk=unresolved.pk).first()
    if employee is not None and name.is_named:
        if employee.profile_source == ProfileSource.DEFAULT:
            _set_name(employee, name)
        else:
            # Someone has entered only a first or last name: fill in only the missing part.
            for field in ("first_name", "last_name"):
                if getattr(employee, field) == names.UNKNOWN:
                    setattr(employee, field, getattr(name, field))
            _set_max_id(employee, name)
        employee.save()
    unresolved.delete()


def _set_name(employee: Employee, name: NameChoice) -> None:
    employee.middle_name = middle_name(employee.profile_source, employee.middle_name, name)
    employee.first_name, employee.last_name = name.first_name, name.last_name
    employee.profile_source, employee.profile_last_updated = name.source, name.updated_at
    _set_max_id(employee, name)


def _set_max_id(employee: Employee, name: NameChoice) -> None:
    if name.max_id and not employee.max_id:
        employee.max_id, employee.max_id_updated_at = name.max_id, timezone.now()
