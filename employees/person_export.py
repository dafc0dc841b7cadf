"""Export everything that is stored about one person, from the tables that ``profiles.personal_data`` lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_noop

from employees import identities
from employees.accounts import UserScope
from profiles import cache
from profiles.models import PersonExport
from profiles.personal_data import STORES, Person

REDIS = "redis"
# Updates are nested five levels deep at most.
_DEEPEST = 20
# The labels of columns for which their models define no label.
_LABELS = (
    *(gettext_noop("first name set at"), gettext_noop("last name set at")),
    *(gettext_noop("user provided name set at"), gettext_noop("user provided name"), gettext_noop("is cache behind")),
    *(gettext_noop("max id"), gettext_noop("max first name"), gettext_noop("max last name"), gettext_noop("api name")),
    *(gettext_noop("served source"), gettext_noop("served ms"), gettext_noop("unfinished id"), gettext_noop("answer")),
    *(gettext_noop("key"), gettext_noop("fingerprint"), gettext_noop("dedup key"), gettext_noop("content type")),
    *(gettext_noop("history id"), gettext_noop("history date"), gettext_noop("history change reason")),
    *(gettext_noop("history type"), gettext_noop("history user"), gettext_noop("change message")),
)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows about the person in one table.

    Each row is a dict of values by column; ``labels`` are the columns' labels.
    """

    name: str
    title: str
    rows: list[dict[str, Any]]
    labels: dict[str, str]

    def labelled(self) -> list[list[tuple[str, Any]]]:
        """Return rows of (label, value) pairs, with labels in the active language and a pair for each value in JSON."""
        labels = {name: self.labels.get(name, name) for row in self.rows for name in row}
        return [[fact for name, value in row.items() for fact in _facts(labels[name], value)] for row in self.rows]


def _facts(label: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield (label, value) pairs: one for a simple value, or one for each value in JSON, such as an update's body.

    For JSON, the label is the path to the value. Data nested more than _DEEPEST levels deep is not split. Empty objects
    and lists become None.
    """
    label = capfirst(gettext(label.replace("_", " ")))
    if isinstance(value, str):
        value = _parsed(value)
    inner = value.items() if isinstance(value, dict) else list(enumerate(value, 1)) if isinstance(value, list) else ()
    if inner and depth < _DEEPEST:
        for key, each in inner:
            yield from ((f"{label} → {below}", leaf) for below, leaf in _facts(str(key), each, depth + 1))
    else:
        yield label, None if value in ({}, []) else value


def _parsed(text: str) -> Any:
    """Parse the text as a JSON object or a datetime; return the text unchanged if it is neither."""
    try:
        return json.loads(text) if text.startswith("{") else parse_datetime(text) or text
    except (RecursionError, ValueError):
        return text


def identify(scope: UserScope, *, phone: str = "", user_id: str = "") -> Person | None:
    """Return the person with this canonical phone or MAX ID; None if the scope does not contain such a person.

    A user who is limited to one university finds only its employees, and by MAX ID only if the ID is confirmed.
    """
    person = Person(user_id, {phone} - {""}, universities=scope.university_ids())
    identities.complete(person)
    if not scope.sees_all:
        known = [each for each in (person.user_id, *sorted(person.other_ids)) if scope.knows(each)]
        person.user_id, person.other_ids = next(iter(known), ""), set(known[1:])
    return person if scope.sees_all or person.employee_ids else None


def export(person: Person, *, by: str) -> list[Table]:
    """Return the person's rows by table, without empty tables; if there are any, record that ``by`` exported them."""
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
    """Return a list with one table, the person's entries in Redis; an empty list if there are none.

    If Redis fails, the table has one row, which contains the error.
    """
    try:
        entries = filter(None, map(cache.read, sorted(person.user_ids)))
        rows = [json.loads(entry.to_json()) for entry in entries]
    except cache.CacheError as error:
        rows = [{"error": str(error)}]
    return [Table(REDIS, "Redis", rows, {})] if rows else []


def as_json(person: Person, tables: list[Table]) -> str:
    others = {"other_max_ids": sorted(person.other_ids)} if person.other_ids else {}
    document = {
        "person": {"max_id": person.user_id, "phones": sorted(person.phones)} | others,
        "exported_at": timezone.now(),
        "stores": {table.name: table.rows for table in tables},
    }
    return json.dumps(document, cls=DjangoJSONEncoder, ensure_ascii=False, indent=2)
