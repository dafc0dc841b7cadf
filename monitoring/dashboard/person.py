"""The page about one person: what each store contains about the person, and which name a lookup would return now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from config.lib import audit_log
from config.lib.messages import Message
from employees import person_export
from employees.accounts import UserScope, admin_scope, may_erase, permission_scope
from employees.max_id_claims import only_claimed
from employees.models import Employee, EmployeeQuerySet
from monitoring.dashboard import explanation
from monitoring.dashboard.access import LOOK_UP, page, screen
from monitoring.rollout_control import preview
from profiles import phones
from profiles.models import PhoneLink, Profile
from profiles.typed_values import bare


@dataclass(frozen=True, slots=True)
class PersonMatch:
    """The result of a search for a person.

    ``lookup`` is the result of ``preview.explain()``. It is None if no phone is known, or if the MAX ID of the employee
    may belong to a person outside the user's scope.
    """

    phone: str
    profile: Profile | None
    employee: Employee | None
    lookup: dict[str, Any] | None

    @property
    def max_id(self) -> str:
        return (self.lookup and self.lookup["max_id"]) or (self.profile.user_id if self.profile else "")

    @property
    def claimed_id(self) -> str:
        """Return the MAX ID that was entered for the employee but never confirmed; ``""`` if there is none."""
        entered = (self.employee and self.employee.max_id) or ""
        return "" if entered == self.max_id else entered


@screen(LOOK_UP)
def look_up(request: HttpRequest) -> HttpResponse:
    """Find a person. The query is sent by POST, because logs contain URLs and must not contain phones."""
    return show(request, bare(request.POST.get("who", ""))[:100])


def show(request: HttpRequest, query: str) -> HttpResponse:
    """Return the page about the person with this phone or MAX ID, and record the look-up in the audit log."""
    context: dict[str, Any] = {"query": query}
    if query:
        scope = admin_scope(request)
        match = find(query, asks_api="ask_api" in request.POST, scope=scope)
        # The log stores the employee's primary key, which remains after an erasure and does not identify the person.
        if match and match.employee:
            audit_log.record(request, Message("A person was looked up"), match.employee)
        elif match and match.profile:
            audit_log.record(request, Message("A person who is not an employee was looked up"))
        else:
            audit_log.record(request, Message("A search found neither an employee nor a profile"))
        context |= {"match": match, "is_limited": scope is not None, "may_export": may_erase(request.user)}
        if match and match.lookup:
            context |= {"source": explanation.source(match.lookup), "reasons": explanation.reasons(match.lookup)}
    return page(request, "person.html", _("Find a person"), **context)


@screen(LOOK_UP)
def export(request: HttpRequest) -> HttpResponse:
    """Show everything stored about the person whose phone or MAX ID was posted, or return it as a JSON file."""
    if not may_erase(request.user):
        raise PermissionDenied
    scope, by = permission_scope(request.user), request.user.get_username()
    phone, user_id = (request.POST.get(name, "")[:64] for name in ("phone", "max_id"))
    # Search by one of the two at a time: if they belong to different people, a search by both would join these people.
    for query in ({"phone": phone}, {"user_id": user_id}):
        person = person_export.identify(scope, **query) if any(query.values()) else None
        tables = person_export.export(person, by=by) if person else []
        if person and tables:
            break
    else:
        messages.error(request, _("Nothing is stored about this person."))
        return HttpResponseRedirect(reverse("screens:person"))
    if request.POST.get("format") == "json":
        headers = {"Content-Disposition": 'attachment; filename="person.json"'}
        return HttpResponse(person_export.as_json(person, tables), content_type="application/json", headers=headers)
    context = {"person": person, "tables": tables, "at": timezone.now()}
    return page(request, "person_export.html", _("What is stored about this person"), **context)


def find(query: str, *, asks_api: bool = False, scope: UserScope | None = None) -> PersonMatch | None:
    """Return what is stored about the person with this phone or MAX ID, and what a lookup of the phone would return.

    With ``asks_api``, the lookup also queries the direct API. With a scope, only employees in the scope are found.
    Without a scope, a valid phone always matches, even if nothing is stored about it, but a MAX ID matches only if a
    profile or a phone belongs to it.

    A query that is valid both as a phone and as a MAX ID is read as a phone. It is read as a MAX ID only if no employee
    has this phone and a profile has this ID. If several employees in the scope have the ID, return the first. An
    employee whose MAX ID was entered by hand and never confirmed is found by the ID only if nobody else has the ID.
    """
    employees = (scope.employees() if scope else Employee.objects.all()).select_related("university")
    try:
        phone = phones.normalize(query)
    except ValueError:
        phone = ""
    employee = employees.filter(phone=phone).first() if phone else None
    if not phone or (not employee and Profile.objects.filter(user_id=query).exists()):
        phone, employee = _find_by_id(query, employees, is_limited=scope is not None)
    if scope and not employee:
        return None
    if scope and employee and employee.max_id and not scope.knows(employee.max_id):
        # The MAX ID was only claimed: under this ID, the stores may have a person of another university.
        return PersonMatch(phone, None, employee, None)
    lookup = preview.explain(phone, asks_api=asks_api) if phone else None
    max_id = lookup["max_id"] if lookup else query
    profile = Profile.objects.filter(user_id=max_id).first() if max_id else None
    return PersonMatch(phone, profile, employee, lookup) if phone or profile else None


def _find_by_id(user_id: str, employees: EmployeeQuerySet, *, is_limited: bool) -> tuple[str, Employee | None]:
    """Return the phone (``""`` if there is none) and the employee (or None) with this MAX ID.

    An employee whose ID was entered by hand and never confirmed comes last. If a profile or a phone belongs to the ID,
    this employee is not returned at all, because the ID may be another person's. With ``is_limited``, the employee is
    returned even then, because the user cannot see the other person.
    """
    with_id = employees.filter(max_id=user_id)
    phones_of_id = PhoneLink.objects.filter(user_id=user_id).values_list("phone", flat=True)
    employee = with_id.exclude(only_claimed(Employee)).first() or employees.filter(phone__in=phones_of_id).first()
    if is_limited or not (phones_of_id or Profile.objects.filter(user_id=user_id).exists()):
        employee = employee or with_id.first()
    return employee.phone if employee else (phones_of_id.first() or ""), employee
