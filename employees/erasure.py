"""What the directory keeps of a person: the rows stay, the names go, also from what was kept to undo or to repeat."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import connection
from django.db.models import Q, QuerySet
from django.dispatch import receiver
from django.utils import timezone

from employees.history.models import EmployeeVersion
from employees.models import Employee, IdempotentRequest, UnresolvedName
from profiles import names
from profiles.erasure import Person, person_erased
from profiles.models import ProfileSource

_NAMELESS = {
    "first_name": names.UNKNOWN,
    "last_name": names.UNKNOWN,
    "middle_name": "",
    "profile_source": ProfileSource.DEFAULT,
    "profile_last_updated": None,
}
_IS_THEIRS = "((c->>0)::bigint = ANY(%(ids)s) OR %(max_id)s IN (c->1->>5, c->2->>5)) IS TRUE"
_STRIP_PRIOR_VALUES = f"""
UPDATE backfill_batches SET changes = (
    SELECT coalesce(jsonb_agg(c), '[]') FROM jsonb_array_elements(changes) c WHERE NOT {_IS_THEIRS})
WHERE EXISTS (SELECT FROM jsonb_array_elements(changes) c WHERE {_IS_THEIRS})
"""  # noqa: S608 (constants)


@receiver(person_erased)
def erase(person: Person, **_: Any) -> None:
    ids = _unname(person, Employee.objects.all(), "pk", updated_at=timezone.now())
    ids |= _unname(person, EmployeeVersion.objects.all(), "id", of=ids)
    max_id = None if person.erased_at else person.user_id
    UnresolvedName.objects.filter(employee_id__in=ids).delete()
    with connection.cursor() as cursor:
        cursor.execute(_STRIP_PRIOR_VALUES, {"ids": list(ids), "max_id": max_id})
        person.erased["backfill_batches"] += cursor.rowcount
    theirs = Q(answer__id__in=ids) | Q(answer__max_id=max_id)
    person.erased["idempotent_requests"] += IdempotentRequest.objects.filter(theirs).delete()[0]
    logged = LogEntry.objects.filter(content_type__app_label="employees", content_type__model="employee")
    named = logged.filter(object_id__in=map(str, ids)).exclude(object_repr=names.UNKNOWN)
    person.erased["django_admin_log"] += named.update(object_repr=names.UNKNOWN)


def _unname(person: Person, rows: QuerySet[Any], key: str, of: Collection[int] = (), **also: Any) -> set[int]:
    """Take the names out of the person's rows and those of these ids; note their phones, return the employees' ids."""
    rows = rows.filter(Q(max_id=person.user_id) | Q(phone__in=person.phones) | Q(**{f"{key}__in": of}))
    if person.erased_at:
        # Named by what was read before it was gone; a later name is somebody's later word.
        rows = rows.filter(profile_last_updated__lte=person.erased_at)
    found = dict(rows.values_list(key, "phone"))
    person.phones |= set(found.values())
    person.erased[rows.model._meta.db_table] += rows.update(**_NAMELESS, **also)  # noqa: SLF001 (documented by Django)
    return set(found)
