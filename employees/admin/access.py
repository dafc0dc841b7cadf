from typing import cast

from django.http import HttpRequest

from config.lib.scope import scope_of
from employees.accounts import UserScope

EXPORT = "monitoring.export_employees"


def admin_scope(request: HttpRequest) -> UserScope | None:
    """Return the limits of a user who is tied to one university; None for users without limits."""
    scope = cast("UserScope", scope_of(request))
    return None if scope.sees_all else scope
