"""Export everything that is stored about one person, from the tables that ``profiles.personal_data`` lists."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_noop

from employees.accounts import UserScope
from employees.models import Employee
from profiles import cache
from profiles.models import DirectAnswer, PersonExport, PhoneLink
from profiles.personal_data import STORES, Person, rows_of

REDIS = "redis"
# The labels of columns whose models name none.
_LABELS = (
    *(gettext_noop("first name set at"), gettext_noop("is first name real"), gettext_noop("last name set at")),
    *(gettext_noop("user provided name set at"), gettext_noop("user provided name"), gettext_noop("is cache behind")),
    *(gettext_noop("max id"), gettext_noop("max first name"), gettext_noop("max last name"), gettext_noop("api name")),
    *(gettext_noop("served source"), gettext_noop("served ms"), gettext_noop("unfinished id"), gettext_noop("answer")),
    *(gettext_noop("key"), gettext_noop("fingerprint"), gettext_noop("dedup key"), gettext_noop("content type")),
    *(gettext_noop("history id"), gettext_noop("history date"), gettext_noop("history change reason")),
    *(gettext_noop("history type"), gettext_noop("history user"), gettext_noop("change message")),
)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows about the person in one table, each as values by column, and the columns' labels."""

    name: str
    title: str
    rows: list[dict[str, Any]]
    labels: dict[str, str]

    def labelled(self) -> list[list[tuple[str, Any]]]:
        """Return the rows with the columns' labels in the active language."""
        names = {name for row in self.rows for name in row}
        labels = {name: capfirst(gettext(self.labels.get(name, name.replace("_", " ")))) for name in names}
        return [[(labels[name], value) for name, value in row.items()] for row in self.rows]


def identify(scope: UserScope, *, phone: str = "", user_id: str = "") -> Person | None:
    """Return the person with this canonical phone or MAX ID; None if the scope does not contain them.

    For a user limited to one university, only its employees are found; a MAX ID counts only if it is confirmed for one
    of them, not merely claimed.
    """
    person = Person(user_id, {phone} - {""}, universities=scope.university_ids())
    employees = rows_of(Employee, person)
    if not scope.sees_all and not employees.exists():
        return None
    person.employee_ids |= set(employees.values_list("pk", flat=True))
    own_phones = set(employees.values_list("phone", flat=True))
    # A phone beside the MAX ID of an own employee may be anybody's.
    person.phones = own_phones | (person.phones if scope.sees_all else set())
    person.user_id = user_id or PhoneLink.objects.user_of(phone) or _max_id_of(person)
    if person.user_id and not scope.knows(person.user_id):
        person.user_id = ""
    for model in (PhoneLink, DirectAnswer):
        person.phones |= set(rows_of(model, person).values_list("phone", flat=True))
    for pk, number in rows_of(Employee, person).values_list("pk", "phone"):
        person.employee_ids.add(pk)
        person.phones.add(number)
    return person


def _max_id_of(person: Person) -> str:
    known = rows_of(Employee, person).exclude(max_id=None).values_list("max_id", flat=True)
    return known.first() or rows_of(DirectAnswer, person).values_list("user_id", flat=True).first() or ""


def export(person: Person, *, by: str) -> list[Table]:
    """Return the person's rows by table, without empty tables, and record the export if there are any."""
    tables = []
    for model, store in STORES.items():
        opts = model._meta  # noqa: SLF001 (documented by Django)
        rows = [store.present(row, person) for row in store.rows(person)]
        labels = {field.attname: str(field.verbose_name) for field in opts.concrete_fields}
        if rows:
            tables.append(Table(opts.db_table, capfirst(str(opts.verbose_name_plural)), rows, labels))
    tables += _cached(person)
    if tables:
        counts = {table.name: len(table.rows) for table in tables}
        PersonExport.objects.create(by=by, person=person.key, counts=counts)
    return tables


def _cached(person: Person) -> list[Table]:
    """Return the person's entry in Redis; if Redis fails, the error in its place."""
    if not person.user_id:
        return []
    try:
        entry = cache.read(person.user_id)
    except cache.CacheError as error:
        return [Table(REDIS, "Redis", [{"error": str(error)}], {})]
    return [Table(REDIS, "Redis", [json.loads(entry.to_json())], {})] if entry else []


def as_json(person: Person, tables: list[Table]) -> str:
    document = {
        "person": {"max_id": person.user_id, "phones": sorted(person.phones)},
        "exported_at": timezone.now(),
        "stores": {table.name: table.rows for table in tables},
    }
    return json.dumps(document, cls=DjangoJSONEncoder, ensure_ascii=False, indent=2)
