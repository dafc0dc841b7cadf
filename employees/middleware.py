from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from employees.accounts import Group, UserScope, user_scope


class ScopeMiddleware:
    """Set ``request.scope`` to the scope of the session's user; it is read from the database on first use."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.scope = SimpleLazyObject(lambda: _admin_scope(request))  # type: ignore[attr-defined]
        return self.get_response(request)


def _admin_scope(request: HttpRequest) -> UserScope:
    """Return the scope of the session's user in the admin.

    A membership limits a user to its university whatever their groups; members who are neither curators nor operators
    have the scope of operators. Without a membership, curators see nothing, and other staff see everything that
    Django's permissions allow.
    """
    scope, everything = user_scope(request.user), UserScope(Group.SUPERADMIN)
    if request.user.is_superuser:
        return everything
    if scope.university_id is None:
        return scope if scope.group == Group.CURATOR else everything
    return scope if scope.group in (Group.CURATOR, Group.OPERATOR) else replace(scope, group=Group.OPERATOR)
