"""Erase a person's names from employees and their history, undo data, stored responses and the admin log."""

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

_IS_THEIRS = "((c->>0)::bigint = ANY(%(ids)s) OR %(max_id)s IN (c->1->>5, c->2->>5)) IS TRUE"
_STRIP_PRIOR_VALUES = f"""
UPDATE backfill_batches SET changes = (
    SELECT coalesce(jsonb_agg(c), '[]') FROM jsonb_array_elements(changes) c WHERE NOT {_IS_THEIRS})
WHERE EXISTS (SELECT FROM jsonb_array_elements(changes) c WHERE {_IS_THEIRS})
"""  # noqa: S608 (constants)


@receiver(person_erased)
def erase(person: Person, **_: Any) -> None:
    ids = _remove_names(person, Employee.objects.all(), "pk", updated_at=timezone.now())
    ids |= _remove_names(person, EmployeeVersion.objects.all(), "id", of=ids)
    max_id = None if person.erased_at else person.user_id
    UnresolvedName.objects.filter(employee_id__in=ids).delete()
    with connection.cursor() as cursor:
        cursor.execute(_STRIP_PRIOR_VALUES, {"ids": list(ids), "max_id": max_id})
        person.erased["backfill_batches"] += cursor.rowcount
    answers = IdempotentRequest.objects.filter(Q(answer__id__in=ids) | Q(answer__max_id=max_id))
    person.erased["idempotent_requests"] += answers.delete()[0]
    entries = LogEntry.objects.filter(content_type__app_label="employees", content_type__model="employee")
    entries = entries.filter(object_id__in=map(str, ids)).exclude(object_repr=names.UNKNOWN)
    person.erased["django_admin_log"] += entries.update(object_repr=names.UNKNOWN)


def _remove_names(person: Person, rows: QuerySet[Any], key: str, of: Collection[int] = (), **also: Any) -> set[int]:
    """Remove the names from rows with the person's MAX id or phones, or with an employee id in ``of``.

    Add the phones of these rows to ``person.phones``, and return the employee ids.
    """
    rows = rows.filter(Q(max_id=person.user_id) | Q(phone__in=person.phones) | Q(**{f"{key}__in": of}))
    if person.erased_at:
        # In the second pass, remove only names that date from before the erasure, not those entered since.
        rows = rows.filter(profile_last_updated__lte=person.erased_at)
    phones = dict(rows.values_list(key, "phone"))
    person.phones |= set(phones.values())
    person.erased[rows.model._meta.db_table] += rows.update(  # noqa: SLF001 (documented by Django)
        first_name=names.UNKNOWN,
        last_name=names.UNKNOWN,
        middle_name="",
        profile_source=ProfileSource.DEFAULT,
        profile_last_updated=None,
        **also,
    )
    return set(phones)
