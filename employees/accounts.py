"""Decide what a user may see and change in the directory, by group and membership (docs/reference/permissions.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import BasePermission

from config.lib.scope import scope_of
from config.postgres.compiled import CompiledQuery, Parameter
from employees.erasure import is_employed_outside
from employees.max_id_claims import with_max_id
from employees.models import Employee, EmployeeQuerySet, Role, University, UniversityQuerySet
from profiles.models import PhoneLink, Profile, ProfileQuerySet

if TYPE_CHECKING:
    # REST framework's views load the classes that authenticate, which import this module.
    from rest_framework.request import Request
    from rest_framework.views import APIView

CURATORS_BY_SUPERADMIN = _("Only a superadmin can assign the curator role.")


class Group(StrEnum):
    SUPERADMIN = "superadmin"
    CURATOR = "curator"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class UserScope:
    """The part of the directory that a user sees.

    Superadmins without a membership see the whole directory. Other users in a directory group see the university of
    their membership. Users without such a group see nothing.
    """

    group: Group | None
    university_id: int | None = None

    @property
    def sees_all(self) -> bool:
        return self.group == Group.SUPERADMIN and self.university_id is None

    @property
    def only_university_id(self) -> int | None:
        """Return the ID of the only university that the user sees; None if there is no such limit, or nothing is seen.

        Check ``sees_all`` first.
        """
        return None if self.group is None else self.university_id

    def employees(self) -> EmployeeQuerySet:
        if self.sees_all:
            return Employee.objects.all()
        if self.only_university_id is None:
            return Employee.objects.none()
        return Employee.objects.of_university(self.only_university_id)

    def employee_with(self, user_id: str) -> Employee | None:
        """Return an employee with this MAX ID, with no field but the primary key; None if there is none in the scope.

        In order of preference: the employee has the confirmed ID; the employee's phone is linked to the ID; the ID is a
        claim.
        """
        if not self.sees_all and self.only_university_id is None:
            return None
        queries = _ANY_EMPLOYEE_WITH_MAX_ID if self.sees_all else _UNIVERSITY_EMPLOYEE_WITH_MAX_ID
        values = {"user_id": user_id, "university_id": self.only_university_id}
        return next(filter(None, (query.first(**values) for query in queries)), None)

    def universities(self) -> UniversityQuerySet:
        if self.sees_all:
            return University.objects.all()
        if self.only_university_id is None:
            return University.objects.none()
        return University.objects.filter(pk=self.only_university_id)

    def university(self, pk: int) -> University | None:
        """Return the university with this ID; None if there is none in the scope."""
        return _UNIVERSITY.first(pk=pk) if self.sees_all or pk == self.only_university_id else None

    def university_ids(self) -> set[int] | None:
        """Return the IDs of the universities that the user is limited to; None if the user sees all universities."""
        return None if self.sees_all else set(self.universities().values_list("pk", flat=True))

    def profiles(self) -> ProfileQuerySet:
        """Return the profiles whose MAX ID belongs to an employee in the scope, by the same rule as ``knows``."""
        if self.sees_all:
            return Profile.objects.all()
        user_id = OuterRef("user_id")
        return Profile.objects.filter(Exists(with_max_id(self.employees(), user_id)) | Exists(self._linked(user_id)))

    def knows(self, user_id: str) -> bool:
        """Return whether an employee in the scope has this MAX ID, in the employee's row or through a phone link.

        A MAX ID that was only entered by hand for the employee, and never confirmed, does not count.
        """
        if self.sees_all:
            return True
        return with_max_id(self.employees(), user_id).exists() or self._linked(user_id).exists()

    def _linked(self, user_id: str | OuterRef) -> QuerySet[PhoneLink]:
        return PhoneLink.objects.filter(user_id=user_id, phone__in=self.employees().values("phone"))

    def covers(self, user_id: str) -> bool:
        """Return whether erasing the person with this MAX ID would affect only employees in the scope."""
        universities = self.university_ids()
        return universities is None or not is_employed_outside(user_id, universities)

    def may_grant(self, role: str) -> bool:
        """Return whether the user may give an employee this role; only superadmins may assign the curator role."""
        return self.sees_all or role in ("", Role.OPERATOR)


def _employees_with(employees: Callable[[], EmployeeQuerySet]) -> tuple[CompiledQuery[Employee], ...]:
    """Return the queries of ``UserScope.employee_with``, in the order of preference, for these employees."""
    user_id = Parameter("user_id")
    phones = PhoneLink.objects.filter(user_id=user_id).values("phone")
    return (
        CompiledQuery(lambda: with_max_id(employees(), user_id).only("pk").order_by("pk")),
        CompiledQuery(lambda: employees().filter(phone__in=phones).only("pk").order_by("pk")),
        CompiledQuery(lambda: employees().filter(max_id=user_id).only("pk").order_by("pk")),
    )


_ANY_EMPLOYEE_WITH_MAX_ID = _employees_with(Employee.objects.all)
_UNIVERSITY_EMPLOYEE_WITH_MAX_ID = _employees_with(lambda: Employee.objects.of_university(Parameter("university_id")))
_UNIVERSITY = CompiledQuery(lambda: University.objects.filter(pk=Parameter("pk")))


def user_scope(user: Any) -> UserScope:
    """Return the user's scope; it is cached on the user object, which is created for each request."""
    scope: UserScope | None = getattr(user, "directory_scope", None)
    if scope is not None:
        return scope
    scope = UserScope(Group.SUPERADMIN if user.is_superuser else None)
    if user.is_authenticated and not user.is_superuser:
        users = get_user_model().objects
        rows = list(users.filter(pk=user.pk).values_list("groups__name", "membership__university_id"))
        names = {row[0] for row in rows}
        group = next((group for group in Group if group.value in names), None)
        scope = UserScope(group, rows[0][1] if rows else None)
    user.directory_scope = scope
    return scope


def permission_scope(user: Any) -> UserScope:
    """Return the scope within which the user's permissions apply, in the admin and in APIs that require a permission.

    Superusers see everything. Other users with a membership are limited to its university. The group in their scope is
    “curator” for curators and “operator” for all others, even for users in no directory group. Without a membership,
    curators see nothing, and other users see everything that their permissions allow.
    """
    scope, everything = user_scope(user), UserScope(Group.SUPERADMIN)
    if user.is_superuser:
        return everything
    if scope.university_id is None:
        return scope if scope.group == Group.CURATOR else everything
    return scope if scope.group in (Group.CURATOR, Group.OPERATOR) else replace(scope, group=Group.OPERATOR)


def admin_scope(request: HttpRequest) -> UserScope | None:
    """Return the scope of the request's user; None if the user sees all universities."""
    scope = cast("UserScope", scope_of(request))
    return None if scope.sees_all else scope


_VERBS = {"GET": "view", "HEAD": "view", "OPTIONS": "view", "PUT": "change", "PATCH": "change", "DELETE": "delete"}


def verbs_of(view: Any, method: str) -> set[str]:
    """Return the kinds of permission that a request to an API view needs: ``view``, ``add``, ``change``, ``delete``.

    A change also needs ``view``, because its response shows the row. An ``add`` does not need it: without the
    permission to view, its response has only the ID and the values sent.
    """
    verb = _VERBS.get(method) or ("change" if view.kwargs else "add")
    return {verb, "view"} if verb == "change" else {verb}


class RowPermission(BasePermission):
    """Allow a request if ``may``, which subclasses define, returns True for each verb that the request needs.

    See ``verbs_of`` for the verbs.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        return all(self.may(verb, request.user) for verb in verbs_of(view, str(request.method)))

    def may(self, verb: str, user: Any) -> bool:
        raise NotImplementedError


class DirectoryPermission(RowPermission):
    """Allow users in any directory group to read, and superadmins and curators to make changes."""

    def may(self, verb: str, user: Any) -> bool:
        group = user_scope(user).group
        return group is not None if verb == "view" else group in (Group.SUPERADMIN, Group.CURATOR)


class IsSuperadminOrReadOnly(DirectoryPermission):
    def may(self, verb: str, user: Any) -> bool:
        return super().may(verb, user) and (verb == "view" or user_scope(user).sees_all)


VIEW_PROFILE, CHANGE_PROFILE, DELETE_PROFILE = (f"profiles.{verb}_profile" for verb in ("view", "change", "delete"))


def may_erase(user: Any) -> bool:
    """Return whether the user may erase people and export what is stored about them."""
    return user_scope(user).group == Group.SUPERADMIN or bool(user.has_perm(DELETE_PROFILE))


class ProfilePermission(RowPermission):
    """Require the same permission as the admin for the same action.

    Superadmins need no permission. Users in any directory group need none to read.
    """

    def may(self, verb: str, user: Any) -> bool:
        if verb == "delete":
            return may_erase(user)
        group = user_scope(user).group
        if verb == "view":
            return group is not None or user.has_perm(VIEW_PROFILE)
        return group == Group.SUPERADMIN or user.has_perm(CHANGE_PROFILE)


class IsSuperadmin(RowPermission):
    def may(self, verb: str, user: Any) -> bool:
        return user_scope(user).sees_all
