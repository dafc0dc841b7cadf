"""Decide who may see and change what in the directory, by group and membership (docs/reference/permissions.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import SAFE_METHODS, BasePermission

from config.lib.scope import scope_of
from employees.models import Employee, EmployeeQuerySet, Role, University
from profiles.models import Profile, ProfileQuerySet

if TYPE_CHECKING:
    # REST framework's views load the classes that authenticate, which import this module.
    from rest_framework.request import Request
    from rest_framework.views import APIView

DATA_PROTECTION_OFFICER = "data_protection_officer"
CURATORS_BY_SUPERADMIN = _("Only a superadmin can assign the curator role.")


class Group(StrEnum):
    SUPERADMIN = "superadmin"
    CURATOR = "curator"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class UserScope:
    """The part of the directory that a user sees.

    Superadmins see all of it, users of another group see the university of their membership, and others see nothing.
    """

    group: Group | None
    university_id: int | None = None

    @property
    def sees_all(self) -> bool:
        return self.group == Group.SUPERADMIN

    def employees(self) -> EmployeeQuerySet:
        if self.sees_all:
            return Employee.objects.all()
        if self.group is None or self.university_id is None:
            return Employee.objects.none()
        return Employee.objects.of_university(self.university_id)

    def universities(self) -> QuerySet[University]:
        if self.sees_all:
            return University.objects.all()
        if self.group is None or self.university_id is None:
            return University.objects.none()
        return University.objects.filter(pk=self.university_id)

    def profiles(self) -> ProfileQuerySet:
        if self.sees_all:
            return Profile.objects.all()
        return Profile.objects.filter(user_id__in=self.employees().filter(max_id__isnull=False).values("max_id"))

    def may_grant(self, role: str) -> bool:
        """Return whether the user may give an employee this role; only superadmins may assign the curator role."""
        return self.sees_all or role in ("", Role.OPERATOR)


def user_scope(user: Any) -> UserScope:
    """Return the user's scope; it is cached on the user object, which exists as long as the request."""
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


def admin_scope(request: HttpRequest) -> UserScope | None:
    """Return the scope of a user who is limited to one university; None for users without limits."""
    scope = cast("UserScope", scope_of(request))
    return None if scope.sees_all else scope


class DirectoryPermission(BasePermission):
    """Allow users of every group to read, and those of the groups in ``writers`` to make changes."""

    writers: tuple[Group, ...] = (Group.SUPERADMIN, Group.CURATOR)

    def has_permission(self, request: Request, view: APIView) -> bool:
        group = user_scope(request.user).group
        return group is not None and (request.method in SAFE_METHODS or group in self.writers)


class IsSuperadminOrReadOnly(DirectoryPermission):
    writers = (Group.SUPERADMIN,)


class MayErase(BasePermission):
    """Allow erasure to superadmins, and to data protection officers whatever their other groups."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        user: Any = request.user
        return user_scope(user).sees_all or user.groups.filter(name=DATA_PROTECTION_OFFICER).exists()


class IsSuperadmin(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return user_scope(request.user).sees_all
