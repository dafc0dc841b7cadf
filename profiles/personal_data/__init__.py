"""The list of all tables that may hold personal data, which the erasure and the export share.

Each app registers its own tables. A test fails for a table that is neither registered nor listed as having no personal
data.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db.models import BinaryField, Model, Q, QuerySet

from profiles.comparison import hash_of as hash_of_phone
from profiles.models import Comparison, DirectAnswer, Erasure, PersonExport, PhoneLink, Profile, Tombstone
from profiles.models import WaitingComparison as Waiting
from profiles.models.tombstones import hash_of


@dataclass
class Person:
    """A person, identified by the MAX ID (``""`` if it is unknown) and the phones and employees found so far.

    ``other_ids`` are further MAX IDs of the person, such as the ID of an earlier account. If ``universities`` is not
    None, only rows that belong to employees of these universities are found.
    """

    user_id: str
    phones: set[str] = field(default_factory=set)
    employee_ids: set[int] = field(default_factory=set)
    other_ids: set[str] = field(default_factory=set)
    universities: Collection[int] | None = None

    @property
    def key(self) -> str:
        """Return the keyed hash that identifies the person in audit rows."""
        return hash_of(self.user_id or min(self.phones, default=""))

    @property
    def user_ids(self) -> set[str]:
        return {self.user_id, *self.other_ids} - {""}

    @property
    def keys(self) -> set[str]:
        """Return all hashes that may identify the person in audit rows."""
        return {self.key, *map(hash_of, self.user_ids | self.phones)}

    def has_id(self, column: str) -> Q:
        """Return a filter for the rows whose ``column`` contains one of the person's MAX IDs.

        It matches no row if no MAX ID is known.
        """
        return Q(**{f"{column}__in": self.user_ids})

    def has_id_anywhere(self, column: str) -> Q:
        """Return a filter like ``has_id``, for tables whose rows belong to no university.

        It matches no row if ``universities`` is set, because such rows cannot be limited to those universities.
        """
        return self.has_id(column) if self.universities is None else Q(pk__in=[])


Finder = Callable[[Person], QuerySet[Any]]
Presenter = Callable[[Any, Person], dict[str, Any]]


def columns(row: Any, person: Person) -> dict[str, Any]:
    """Return the row's values in a dict with the columns as keys; binary values are hexadecimal strings."""
    return {
        column.name: bytes(value).hex() if isinstance(column, BinaryField) and value is not None else value
        for column in row._meta.concrete_fields  # noqa: SLF001 (documented by Django)
        for value in [getattr(row, column.attname)]
    }


@dataclass(frozen=True, slots=True)
class Store:
    """Two functions for a table: ``rows`` finds a person's rows, ``present`` converts a row for the export."""

    rows: Finder
    present: Presenter = columns


STORES: dict[type[Model], Store] = {}


def store(model: type[Model], present: Presenter = columns) -> Callable[[Finder], Finder]:
    """Return a decorator that registers the decorated function, which finds a person's rows in the model's table."""

    def register(rows: Finder) -> Finder:
        STORES[model] = Store(rows, present)
        return rows

    return register


def rows_of(model: type[Model], person: Person) -> QuerySet[Any]:
    return STORES[model].rows(person)


def _log_entry(row: LogEntry, person: Person) -> dict[str, Any]:
    entry = {"action_time": row.action_time, "user": str(row.user), "content_type": str(row.content_type)}
    return entry | {"object_repr": row.object_repr, "change_message": row.get_change_message()}


@store(LogEntry, _log_entry)
def _log_entries(person: Person) -> QuerySet[LogEntry]:
    """Return the log entries about the person's profile and employees.

    Entries about a profile contain the MAX ID or, after an erasure, a hash of it.
    """
    is_profile = (
        person.has_id("object_id") | person.has_id("object_repr") | Q(object_repr__in=[key[:12] for key in person.keys])
    )
    ids = map(str, person.employee_ids)
    is_employee = Q(content_type__app_label="employees", content_type__model="employee", object_id__in=ids)
    entries = LogEntry.objects.select_related("user", "content_type")
    return entries.filter(Q(is_profile, content_type__app_label="profiles") | is_employee)


def _with_phone(model: type[Model], column: str) -> Store:
    """Return the Store for a table with the column ``phone`` and a column of MAX IDs, which ``column`` names."""
    rows = model._default_manager  # noqa: SLF001 (documented by Django)
    return Store(lambda person: rows.filter(Q(phone__in=person.phones) | person.has_id_anywhere(column)))


def _phone_links(person: Person) -> QuerySet[PhoneLink]:
    is_own = Q() if person.universities is None else Q(phone__in=person.phones)
    return PhoneLink.objects.filter(person.has_id("user_id") & is_own)


STORES |= {
    Profile: Store(lambda person: Profile.objects.filter(person.has_id("pk"))),
    PhoneLink: Store(_phone_links),
    DirectAnswer: _with_phone(DirectAnswer, "user_id"),
    Waiting: _with_phone(Waiting, "max_id"),
    Comparison: Store(lambda person: Comparison.objects.filter(key_hash__in=map(hash_of_phone, person.phones))),
    Tombstone: Store(lambda person: Tombstone.objects.filter(pk__in=person.keys)),
    Erasure: Store(lambda person: Erasure.objects.filter(person__in=person.keys)),
    PersonExport: Store(lambda person: PersonExport.objects.filter(person__in=person.keys)),
}
