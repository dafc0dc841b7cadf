"""Decide who may see and change what in the directory, by group and membership (docs/reference/permissions.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from employees.models import Employee, EmployeeQuerySet, Role, University
from profiles.models import Profile, ProfileQuerySet


class Group(StrEnum):
    SUPERADMIN = "superadmin"
    CURATOR = "curator"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class UserScope:
    """What a user is in the directory. Without a group they are nobody; without a university they see none."""

    group: Group | None
    university_id: int | None = None

    @property
    def sees_all(self) -> bool:
        return self.group == Group.SUPERADMIN

    def employees(self) -> EmployeeQuerySet:
        everybody = Employee.objects.all()
        if self.sees_all:
            return everybody
        return everybody.of_university(self._own[0]) if self._own else everybody.none()

    def universities(self) -> QuerySet[University]:
        return University.objects.all() if self.sees_all else University.objects.filter(pk__in=self._own)

    def profiles(self) -> ProfileQuerySet:
        if self.sees_all:
            return Profile.objects.all()
        return Profile.objects.filter(user_id__in=self.employees().filter(max_id__isnull=False).values("max_id"))

    @property
    def _own(self) -> list[int]:
        return [] if self.group is None or self.university_id is None else [self.university_id]

    def may_grant(self, role: str) -> bool:
        """Tell whether the user may give an employee this role: a superadmin alone makes curators."""
        return self.sees_all or role in ("", Role.OPERATOR)


def user_scope(user: Any) -> UserScope:
    """Return the user's scope, remembered on the user object, which lives as long as the request."""
    scope: UserScope | None = getattr(user, "directory_scope", None)
    if scope is None:
        scope = user.directory_scope = _read_scope(user)
    return scope


def _read_scope(user: Any) -> UserScope:
    if not user.is_authenticated:
        return UserScope(None)
    if user.is_superuser:
        return UserScope(Group.SUPERADMIN)
    users = get_user_model().objects
    rows = list(users.filter(pk=user.pk).values_list("groups__name", "membership__university_id"))
    names = {name for name, _ in rows}
    group = next((group for group in Group if group.value in names), None)
    return UserScope(group, rows[0][1] if rows else None)


class MayUseDirectory(BasePermission):
    """A role to look, and any but the operator's to change."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        group = user_scope(request.user).group
        return group is not None and (request.method in SAFE_METHODS or group != Group.OPERATOR)


class MayLookOrRule(BasePermission):
    """A role to look, the superadmin's to change."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        scope = user_scope(request.user)
        return scope.sees_all or (scope.group is not None and request.method in SAFE_METHODS)


DATA_PROTECTION_OFFICER = "data_protection_officer"


class MayErase(BasePermission):
    """The superadmin's and the data protection officer's right, whatever else they are."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        user: Any = request.user
        return user_scope(user).sees_all or user.groups.filter(name=DATA_PROTECTION_OFFICER).exists()


class IsSuperadmin(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return user_scope(request.user).sees_all
