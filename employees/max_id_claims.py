"""Decide whether a MAX ID is an employee's, or was only entered for them (docs/reference/permissions.md)."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists, F, OuterRef, Q

from employees.models import Employee, EmployeeQuerySet, MaxIdClaim
from profiles.models import DirectAnswer, PhoneLink


def with_max_id(
    employees: EmployeeQuerySet, user_id: str | OuterRef, *, with_vouched: bool = False
) -> EmployeeQuerySet:
    """Return the employees whose rows have the MAX ID, except those whose MAX ID was only claimed."""
    is_claimed = MaxIdClaim.objects.filter(employee=OuterRef("pk"), max_id=OuterRef("max_id"))
    if with_vouched:
        is_claimed = is_claimed.filter(is_vouched=False)
    return employees.filter(~Exists(is_claimed), max_id=user_id)


def is_of_others(user_id: str, *, phone: str, university_id: int) -> bool:
    """Return whether the MAX ID is that of another university's employee, and no phone link ties it to this phone."""
    if PhoneLink.objects.filter(phone=phone, user_id=user_id).exists():
        return False
    others = Employee.objects.exclude(university=university_id)
    links = PhoneLink.objects.filter(user_id=user_id)
    return (
        with_max_id(others, user_id, with_vouched=True).exists()
        or others.filter(phone__in=links.values("phone")).exists()
    )


def nameless(employee_ids: Iterable[int]) -> set[int]:
    """Return those of the employees whose claimed MAX ID gives them no name from the cache.

    An employee who was created with the ID gets the name, unless it is the ID of another university's employee. An ID
    that was claimed later gives no name until the person shares the phone, or the direct API returns the ID.
    """
    links = PhoneLink.objects.filter(phone=OuterRef("employee__phone"), user_id=OuterRef("max_id"))
    claims = MaxIdClaim.objects.filter(employee__in=list(employee_ids), max_id=F("employee__max_id"), is_vouched=False)
    others = Employee.objects.exclude(university=OuterRef("employee__university"))
    of_others = PhoneLink.objects.filter(user_id=OuterRef(OuterRef("max_id"))).values("phone")
    is_later = Q(employee__max_id_updated_at__gt=F("employee__created_at"))
    is_of_others = Exists(with_max_id(others, OuterRef("max_id"), with_vouched=True)) | Exists(
        others.filter(phone__in=of_others)
    )
    return set(claims.filter(~Exists(links), is_later | Q(is_of_others)).values_list("pk", flat=True))


def record(employee: Employee, *, is_limited: bool) -> None:
    """Record that the employee's MAX ID, which has just been entered, is a claim, unless the direct API gave it.

    A user who sees all universities vouches for it: the employee then gets the name, but the profile becomes visible to
    nobody.
    """
    if employee.max_id and not _is_confirmed(employee):
        defaults = {"max_id": employee.max_id, "is_vouched": not is_limited}
        MaxIdClaim.objects.update_or_create(employee=employee, defaults=defaults)
    else:
        MaxIdClaim.objects.filter(employee=employee).delete()


def forget_confirmed(employee: Employee) -> None:
    """Delete the claim if the direct API has given the ID for the phone: its response is only kept for minutes."""
    if _is_confirmed(employee):
        MaxIdClaim.objects.filter(employee=employee, max_id=employee.max_id).delete()


def _is_confirmed(employee: Employee) -> bool:
    return DirectAnswer.objects.filter(phone=employee.phone, user_id=employee.max_id or None).exists()
