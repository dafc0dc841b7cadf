"""Find a person's data in the directory; erase the names from employees, history, undo data and stored responses."""

from dataclasses import replace
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import connection
from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django.dispatch import receiver
from django.utils import timezone

from employees import identities
from employees.history.models import EmployeeVersion, FormerMaxIdClaim
from employees.max_id_claims import claimants, only_claimed
from employees.models import BackfillBatch, Employee, IdempotentRequest, MaxIdClaim, UnresolvedName
from profiles import names
from profiles.models import ProfileSource
from profiles.personal_data import STORES, Person, Store, columns, rows_of, store
from profiles.personal_data.erasure import ErasedPerson, person_erased

_IS_THEIRS = """((c->>0)::bigint = ANY(%(ids)s) OR (c->>0)::bigint <> ALL(%(claimants)s)
    AND (c->1->>5 = ANY(%(max_ids)s) OR c->2->>5 = ANY(%(max_ids)s))) IS TRUE"""
# A change is [employee id, values before, values after]. The operator @> excludes nearly all batches before their
# changes are compared one by one.
_HAS_THEIRS = f"""changes @> ANY(
    SELECT jsonb_build_array(jsonb_build_array(id)) FROM unnest(%(ids)s::bigint[]) id
    UNION ALL SELECT jsonb_build_array(jsonb_build_array(jsonb_build_array(id))) FROM unnest(%(max_ids)s::text[]) id
) AND EXISTS (SELECT FROM jsonb_array_elements(changes) c WHERE {_IS_THEIRS})"""  # noqa: S608 (constants)
_STRIP_PRIOR_VALUES = f"""
UPDATE backfill_batches SET changes = (
    SELECT coalesce(jsonb_agg(c), '[]') FROM jsonb_array_elements(changes) c WHERE NOT {_IS_THEIRS})
WHERE {_HAS_THEIRS}
"""  # noqa: S608 (constants)


def _people(rows: QuerySet[Any], key: str, person: Person) -> QuerySet[Any]:
    """Return the rows with the person's MAX ID, phones or employee IDs; only those of ``person.universities``, if set.

    ``key`` is the column with the employee's ID.
    """
    has_id = person.has_id("max_id") & ~only_claimed(rows.model)
    if rows.model is EmployeeVersion:
        # An ID that was replaced later counts as mistyped, unless ``identities`` has found the employee.
        later = EmployeeVersion.objects.filter(id=OuterRef("id"), history_id__gt=OuterRef("history_id"))
        has_id &= Q(~Exists(later.exclude(max_id=OuterRef("max_id"))))
    rows = rows.filter(has_id | Q(phone__in=person.phones) | Q(**{f"{key}__in": person.employee_ids}))
    return rows if person.universities is None else rows.filter(university_id__in=person.universities)


def _own_changes(batch: BackfillBatch, person: Person) -> dict[str, Any]:
    """Return the columns of a batch, with only this person's changes: the other changes are about other people."""
    ids = person.user_ids if person.universities is None else set()
    of_others = claimants(ids)
    own = [
        change
        for change in batch.changes
        if change[0] in person.employee_ids
        or (change[0] not in of_others and not ids.isdisjoint((change[1][5], change[2][5])))
    ]
    return columns(batch, person) | {"changes": own}


def _parameters(person: Person, user_ids: set[str]) -> dict[str, Any]:
    return {"ids": list(person.employee_ids), "max_ids": list(user_ids), "claimants": list(claimants(user_ids))}


@store(BackfillBatch, _own_changes)
def _batches(person: Person) -> QuerySet[BackfillBatch]:
    with connection.cursor() as cursor:
        params = _parameters(person, person.user_ids if person.universities is None else set())
        cursor.execute(f"SELECT id FROM backfill_batches WHERE {_HAS_THEIRS}", params)  # noqa: S608 (constants)
        return BackfillBatch.objects.filter(pk__in=[pk for (pk,) in cursor.fetchall()])


@store(IdempotentRequest)
def _answers(person: Person) -> QuerySet[IdempotentRequest]:
    is_theirs = Q(answer__id__in=person.employee_ids) | Q(answer__phone__in=person.phones)
    has_id = person.has_id_anywhere("answer__max_id") & ~Q(answer__id__in=claimants(person.user_ids))
    return IdempotentRequest.objects.filter(is_theirs | has_id)


STORES |= {
    Employee: Store(lambda person: _people(Employee.objects.all(), "pk", person)),
    EmployeeVersion: Store(lambda person: _people(EmployeeVersion.objects.all(), "id", person)),
    UnresolvedName: Store(lambda person: UnresolvedName.objects.filter(pk__in=person.employee_ids)),
    MaxIdClaim: Store(lambda person: MaxIdClaim.objects.filter(pk__in=person.employee_ids)),
    FormerMaxIdClaim: Store(lambda person: FormerMaxIdClaim.objects.filter(employee_id__in=person.employee_ids)),
}


def is_employed_outside(user_id: str, universities: set[int]) -> bool:
    """Return whether erasing the person would also affect a present or former employee of another university."""
    person = Person(user_id)
    identities.complete(person, with_other_ids=False)
    own = rows_of(Employee, person).filter(university__in=universities).values_list("pk", flat=True)
    moved_here = set(own)
    elsewhere = [rows_of(Employee, person), rows_of(EmployeeVersion, person).exclude(id__in=moved_here)]
    return any(rows.exclude(university_id__in=universities).exists() for rows in elsewhere)


@receiver(person_erased)
def erase(person: ErasedPerson, **_: Any) -> None:
    # Another MAX ID of the person is erased by a request of its own, which leaves a tombstone of its own.
    identities.complete(person, with_other_ids=False)
    _remove_names(person, Employee, "pk", updated_at=timezone.now())
    _remove_names(person, EmployeeVersion, "id")
    rows_of(UnresolvedName, person).delete()
    # In the second pass, data of other employees with the MAX id are newer than the erasure.
    of_pass = person if person.is_first else replace(person, user_id="")
    with connection.cursor() as cursor:
        cursor.execute(_STRIP_PRIOR_VALUES, _parameters(person, of_pass.user_ids))
        person.erased["backfill_batches"] += cursor.rowcount
    person.erased["idempotent_requests"] += rows_of(IdempotentRequest, of_pass).delete()[0]
    entries = rows_of(LogEntry, person).filter(content_type__app_label="employees").exclude(object_repr=names.UNKNOWN)
    person.erased["django_admin_log"] += entries.update(object_repr=names.UNKNOWN)


def _remove_names(person: ErasedPerson, model: type[Model], key: str, **also: Any) -> None:
    """Remove the names from the person's rows in a table, and add the employee IDs of these rows to ``person``.

    ``key`` is the column with the employee's ID, and ``also`` are further values to set.
    """
    rows = rows_of(model, person)
    if person.erased_at:
        # Remove only names that date from before the erasure, not those entered since.
        is_older = Q(profile_last_updated__lte=person.erased_at)
        rows = rows.filter(is_older | Q(profile_last_updated=None) if person.is_first else is_older)
    person.employee_ids |= set(rows.values_list(key, flat=True))
    person.erased[model._meta.db_table] += rows.update(  # noqa: SLF001 (documented by Django)
        first_name=names.UNKNOWN,
        last_name=names.UNKNOWN,
        middle_name="",
        profile_source=ProfileSource.DEFAULT,
        profile_last_updated=None,
        **also,
    )
