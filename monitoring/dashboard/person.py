"""One person: what is known, from where, how old it is, what would be served and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib import audit_log
from config.lib.messages import Message
from employees.accounts import UserScope
from employees.admin import admin_scope
from employees.models import Employee
from monitoring.dashboard.access import LOOK_UP, page, screen
from monitoring.rollout_control import preview
from profiles import phones
from profiles.models import PhoneLink, Profile
from profiles.rollout.decision import Reason

T = gettext_lazy
ORDERS: tuple[Promise, ...] = (
    T("the direct API answers"),
    T("the direct API answers"),
    T("the direct API answers; the cache is only compared"),
    T("the cache answers first, then the direct API"),
    T("the stores answer; the direct API only for people whom none of them knows"),
)


@dataclass(frozen=True, slots=True)
class PersonMatch:
    """Somebody who was looked for; without a phone nothing is decided about them."""

    phone: str
    profile: Profile | None
    employee: Employee | None
    known: dict[str, Any] | None

    @property
    def max_id(self) -> str:
        return (self.known and self.known["max_id"]) or (self.profile.user_id if self.profile else "")


@screen(LOOK_UP)
def look_up(request: HttpRequest) -> HttpResponse:
    """Look by POST: a phone has no place in an address, which logs keep."""
    asked = request.POST.get("who", "").strip()[:100]
    context: dict[str, Any] = {"asked": asked}
    if asked:
        scope = admin_scope(request)
        found = find(asked, asks_api="ask_api" in request.POST, scope=scope)
        _record(request, found)
        context |= (
            {"found": found, "person_data": person_data(found)}
            if found
            else {"is_unknown": True, "is_limited": bool(scope)}
        )
    return page(request, "person.html", _("Find a person"), **context)


def _record(request: HttpRequest, found: PersonMatch | None) -> None:
    """Record who was looked up by the number of the employee, which outlives an erasure and names nobody."""
    if found and found.employee:
        audit_log.record(request, Message("A person was looked up"), found.employee)
    elif found and found.profile:
        audit_log.record(request, Message("A person who is no employee was looked up"))
    else:
        audit_log.record(request, Message("A person was looked up whom nothing is known of"))


def find(asked: str, *, asks_api: bool = False, scope: UserScope | None = None) -> PersonMatch | None:
    """Return who has this phone or this MAX id; None when nobody does and it is no phone, or the scope hides them.

    A MAX id may be that of several employees: the first whom the scope shows is told of.
    """
    employees = (scope.employees() if scope else Employee.objects.all()).select_related("university")
    try:
        phone = phones.normalize(asked)
    except ValueError:
        phone = _phone_of(asked, employees)
    employee = employees.filter(phone=phone).first() if phone else employees.filter(max_id=asked).first()
    if scope and not employee:
        return None
    known = preview.explain(phone, asks_api=asks_api) if phone else None
    max_id = known["max_id"] if known else asked
    profile = Profile.objects.filter(user_id=max_id).first() if max_id else None
    return PersonMatch(phone, profile, employee, known) if phone or profile else None


def _phone_of(max_id: str, employees: QuerySet[Employee]) -> str:
    employee = employees.filter(max_id=max_id).values_list("phone", flat=True).first()
    return employee or PhoneLink.objects.filter(user_id=max_id).values_list("phone", flat=True).first() or ""


def person_data(found: PersonMatch) -> dict[str, Any]:
    """Say how a lookup would be decided, in words."""
    if not found.known:
        return {}
    stage, reason = found.known["stage"], Reason(found.known["reason"])
    return {
        "stage": stage,
        "order": ORDERS[stage],
        "reason": reason.label,
        "bucket": found.known["bucket"],
        "served": found.known["served"],
    }
