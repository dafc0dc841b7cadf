from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from employees.accounts import permission_scope


class ScopeMiddleware:
    """Set ``request.scope`` to the UserScope of the session's user; it is read from the database on first use."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.scope = SimpleLazyObject(lambda: permission_scope(request.user))  # type: ignore[attr-defined]
        return self.get_response(request)
