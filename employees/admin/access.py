from django.http import HttpRequest

from employees.access import Group, Scope, scope_of

EXPORT = "monitoring.export_employees"


def admin_scope(request: HttpRequest) -> Scope | None:
    """The limits of a curator or operator of a university; None for staff whom Django's own permissions govern.

    The admin's operators are of the same group: without a university of their own they look after the whole system.
    """
    scope = scope_of(request.user)
    is_of_system = scope.group is None or (scope.group == Group.OPERATOR and scope.university_id is None)
    return None if scope.sees_all or is_of_system else scope
