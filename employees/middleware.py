from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from employees.accounts import Group, UserScope, user_scope


class ScopeMiddleware:
    """Set ``request.scope``, the scope of the session's user; it is read from the database when a page needs it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.scope = SimpleLazyObject(lambda: _admin_scope(request))  # type: ignore[attr-defined]
        return self.get_response(request)


def _admin_scope(request: HttpRequest) -> UserScope:
    """Return what the session's user sees in the admin.

    A membership limits its user whatever their groups: a right that a group adds is one over that university. Staff
    without a university see all that Django's permissions open to them, curators excepted. The group of the admin's
    operators is that of the API's.
    """
    scope, everything = user_scope(request.user), UserScope(Group.SUPERADMIN)
    if request.user.is_superuser:
        return everything
    if scope.university_id is None:
        return scope if scope.group == Group.CURATOR else everything
    return scope if scope.group in (Group.CURATOR, Group.OPERATOR) else replace(scope, group=Group.OPERATOR)
