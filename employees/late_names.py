"""Employees whom the direct API could not be asked about: asked again until it answers."""

from __future__ import annotations

import time

from django.utils import timezone

from employees.models import UnresolvedName
from employees.naming import apply_late_name
from profiles.lookup import resolve


def retry_due(until: float) -> int:
    """Resolve what is due, oldest first, until ``until`` (monotonic) or the first outage; return how many settled."""
    settled = 0
    while time.monotonic() < until:
        due = UnresolvedName.objects.filter(next_try_at__lte=timezone.now()).select_related("employee")
        unresolved = due.order_by("next_try_at").first()
        if unresolved is None or not _retry(unresolved):
            break
        settled += 1
    return settled


def _retry(unresolved: UnresolvedName) -> bool:
    # Postponed before it is asked: whoever comes at the same time, or after a crash, takes the next one.
    unresolved.postpone()
    unresolved.save(update_fields=["attempts", "next_try_at"])
    employee = unresolved.employee
    name = resolve(phone=employee.phone, max_id=employee.max_id, university_id=employee.university_id)
    if name.is_unresolved:
        return False
    apply_late_name(unresolved, name)
    return True
