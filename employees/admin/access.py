from dataclasses import replace

from django.http import HttpRequest

from employees.accounts import Group, UserScope, user_scope

EXPORT = "monitoring.export_employees"


def admin_scope(request: HttpRequest) -> UserScope | None:
    """The limits of whoever looks after one university; None for staff whom Django's own permissions govern.

    A membership limits its user whatever their groups: a right that a group adds is one over that university. The
    admin's operators are of the same group as the API's: without a university they look after the whole system.
    """
    scope = user_scope(request.user)
    if request.user.is_superuser:
        return None
    if scope.university_id is None:
        return scope if scope.group == Group.CURATOR else None
    return scope if scope.group in (Group.CURATOR, Group.OPERATOR) else replace(scope, group=Group.OPERATOR)
