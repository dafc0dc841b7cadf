"""Distinguish confirmed MAX IDs of employees from claims, which are IDs that were entered by hand and never confirmed.

See docs/reference/permissions.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, F, Model, OuterRef, Q
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from config.postgres.compiled import Parameter
from employees.history.models import EmployeeVersion, FormerMaxIdClaim
from employees.models import Employee, EmployeeQuerySet, MaxIdClaim
from profiles.models import DirectAnswer, PhoneLink


def with_max_id(
    employees: EmployeeQuerySet, user_id: str | OuterRef | Parameter, *, with_vouched: bool = False
) -> EmployeeQuerySet:
    """Return those of the employees who have the MAX ID, except those whose ID is an unconfirmed claim.

    With ``with_vouched``, include claims that were entered by a user who sees all universities and so vouches for them.
    """
    is_claimed = MaxIdClaim.objects.filter(employee=OuterRef("pk"), max_id=OuterRef("max_id"))
    if with_vouched:
        is_claimed = is_claimed.filter(is_vouched=False)
    return employees.filter(~Exists(is_claimed), max_id=user_id)


def is_of_others(user_id: str, *, phone: str, university_id: int) -> bool:
    """Return whether the MAX ID belongs to an employee of another university.

    Return False if the ID is linked to ``phone``, because this confirms that the ID is the person's own.
    """
    if PhoneLink.objects.filter(phone=phone, user_id=user_id).exists():
        return False
    others = Employee.objects.exclude(university=university_id)
    links = PhoneLink.objects.filter(user_id=user_id)
    return (
        with_max_id(others, user_id, with_vouched=True).exists()
        or others.filter(phone__in=links.values("phone")).exists()
    )


def only_claimed(model: type[Model]) -> Q:
    """Return a Q for rows of Employee or EmployeeVersion whose MAX ID was entered by hand and never confirmed.

    Such an ID is not used to look up the employee's name in the cache. These IDs are not included:

    - IDs that are confirmed: the person has shared the phone, or the direct API has returned the ID for the phone;
    - IDs that were entered by a user who sees all universities, because they need no confirmation;
    - IDs with which the employee was created, unless an ID belongs to an employee of another university.

    Versions are included even if the ID has been replaced since, or the employee has been deleted.
    """
    is_version = model is EmployeeVersion
    pair = {"employee_id": OuterRef("id"), "max_id": OuterRef("max_id")}
    is_claim = Q(Exists(MaxIdClaim.objects.filter(**pair, is_vouched=False)))
    is_former = Q(Exists(FormerMaxIdClaim.objects.filter(**pair)))
    links = PhoneLink.objects.filter(phone=OuterRef("phone"), user_id=OuterRef("max_id"))
    others = Employee.objects.exclude(university=OuterRef("university"))
    of_others = PhoneLink.objects.filter(user_id=OuterRef(OuterRef("max_id"))).values("phone")
    is_later = Q(max_id_updated_at__gt=F("created_at"))
    is_of_others = Exists(with_max_id(others, OuterRef("max_id"), with_vouched=True)) | Exists(
        others.filter(phone__in=of_others)
    )
    return (is_claim | is_former if is_version else is_claim) & ~Exists(links) & (is_later | is_of_others)


def nameless(employee_ids: Iterable[int]) -> set[int]:
    """Return the IDs of the employees whose MAX ID was never confirmed and must not be used to look up their name."""
    rows = Employee.objects.filter(only_claimed(Employee), pk__in=list(employee_ids))
    return set(rows.order_by().values_list("pk", flat=True))


def claimants(user_ids: set[str]) -> set[int]:
    """Return the IDs of the employees, including deleted ones, whose claimed MAX ID is or was one of ``user_ids``."""
    former = FormerMaxIdClaim.objects.filter(max_id__in=user_ids).values_list("employee_id", flat=True)
    present = MaxIdClaim.objects.filter(max_id__in=user_ids).values_list("pk", flat=True)
    versions = EmployeeVersion.objects.filter(id__in={*former, *present}, max_id__in=user_ids)
    return set(versions.filter(only_claimed(EmployeeVersion)).values_list("id", flat=True)) | nameless(present)


def record(employee: Employee, *, is_limited: bool) -> None:
    """Record the employee's newly entered MAX ID as a claim, unless the direct API returned it for the phone.

    If ``is_limited`` is False, the user sees all universities and vouches for the ID. The employee then gets the name
    of the ID's owner, but the owner's profile does not become visible to anybody.
    """
    claims = MaxIdClaim.objects.filter(employee=employee)
    claims.exclude(max_id=employee.max_id or "").delete()
    FormerMaxIdClaim.objects.filter(employee_id=employee.pk, max_id=employee.max_id).delete()
    if employee.max_id and not _is_confirmed(employee.phone, employee.max_id):
        defaults = {"max_id": employee.max_id, "is_vouched": not is_limited}
        MaxIdClaim.objects.update_or_create(employee=employee, defaults=defaults)
    else:
        claims.delete()


def forget_confirmed(employee: Employee) -> None:
    """Delete the employee's claim if the direct API has just returned the claimed MAX ID for the phone.

    Call this function right after a lookup: responses of the direct API are stored only for minutes.
    """
    if employee.max_id and _is_confirmed(employee.phone, employee.max_id):
        MaxIdClaim.objects.filter(employee=employee, max_id=employee.max_id).delete()


@receiver(pre_delete, sender=MaxIdClaim)
def _keep(instance: MaxIdClaim, **_: Any) -> None:
    """Save an unconfirmed claim as a FormerMaxIdClaim before it is deleted: the history still contains the MAX ID."""
    if not instance.is_vouched and not _is_confirmed(instance.employee.phone, instance.max_id):
        FormerMaxIdClaim.objects.get_or_create(employee_id=instance.pk, max_id=instance.max_id)


def _is_confirmed(phone: str, user_id: str) -> bool:
    return DirectAnswer.objects.filter(phone=phone, user_id=user_id).exists()
