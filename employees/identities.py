"""Find all employees, phones and MAX IDs of one person, present and earlier ones, for the erasure and the export."""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from employees.history.models import EmployeeVersion
from employees.max_id_claims import only_claimed
from employees.models import Employee
from profiles.models import DirectAnswer, PhoneLink
from profiles.personal_data import Person, rows_of


def complete(person: Person, *, with_other_ids: bool = True) -> None:
    """Add to the person all employees, phones and MAX IDs that the stored data connect with the person.

    Search the directory, its history, shared phones and responses of the direct API. Include earlier phones and MAX IDs
    of an employee, unless somebody else has them now; ignore MAX IDs that were entered by hand and never confirmed.

    If ``person.universities`` is set, first remove the phones that no employee of these universities has, and add only
    employees of these universities.

    With ``with_other_ids=False``, as for an erasure, do not search for data of other MAX IDs that are found, because
    they may belong to other people.
    """
    if person.universities is not None:
        own = _holders("phone", person.phones).items()
        person.phones = {phone for phone, holders in own if _in_scope(holders, person)}
    known: list[int] = []
    while known != (known := [len(person.employee_ids), len(person.phones), len(person.user_ids)]):
        holders = (_holders("max_id", person.user_ids), _holders("phone", person.phones))
        found = set[int]().union(*(ids for each in holders for ids in each.values()))
        person.employee_ids |= _in_scope(found, person)
        current = Employee.objects.filter(pk__in=person.employee_ids)
        person.phones |= _values(current, "phone")
        _add_ids(person, _values(PhoneLink.objects.filter(phone__in=person.phones), "user_id"))
        _add_ids(person, _values(current.exclude(only_claimed(Employee)), "max_id"))
        _add_earlier(person)
        _add_ids(person, _values(DirectAnswer.objects.filter(phone__in=person.phones), "user_id"))
        if not with_other_ids:
            person.other_ids.clear()
        for model in (PhoneLink, DirectAnswer):
            person.phones |= _values(rows_of(model, person), "phone")


def _values(rows: QuerySet[Any], column: str) -> set[str]:
    return set(filter(None, rows.values_list(column, flat=True)))


def _add_ids(person: Person, ids: Iterable[str]) -> None:
    for user_id in ids:
        person.user_id = person.user_id or user_id
        person.other_ids |= {user_id} - {person.user_id}


def _holders(column: str, values: set[str]) -> dict[str, set[int]]:
    """Return, for each value, the IDs of the employees who have it in ``column``.

    If nobody has a value now, return the ID of the employee who had it last, even if that employee has been deleted. A
    MAX ID that was entered by hand and never confirmed does not count.
    """
    holders: dict[str, set[int]] = {}
    employees = Employee.objects.filter(**{f"{column}__in": values})
    versions = EmployeeVersion.objects.all()
    if column == "max_id":
        employees, versions = employees.exclude(only_claimed(Employee)), versions.exclude(only_claimed(EmployeeVersion))
    for value, pk in employees.values_list(column, "pk"):
        holders.setdefault(value, set()).add(pk)
    versions = versions.filter(**{f"{column}__in": values - holders.keys()})
    latest = versions.order_by(column, "-history_date", "-history_id").distinct(column)
    return holders | {value: {pk} for value, pk in latest.values_list(column, "id")}


def _in_scope(ids: set[int], person: Person) -> set[int]:
    if person.universities is None:
        return ids
    universities = dict(Employee.objects.filter(pk__in=ids).values_list("pk", "university_id"))
    deleted = EmployeeVersion.objects.filter(id__in=ids - universities.keys())
    latest = deleted.order_by("id", "-history_date", "-history_id").distinct("id")
    universities |= dict(latest.values_list("id", "university_id"))
    return {pk for pk, university in universities.items() if university in person.universities}


def _add_earlier(person: Person) -> None:
    """Add the earlier phones and MAX IDs from the person's employee records, unless another employee has them now.

    Leave out an earlier phone that is linked to somebody else's MAX ID: it was mistyped, or has a new owner. Leave out
    an earlier MAX ID that is linked only to other phones.
    """
    versions = EmployeeVersion.objects.filter(id__in=person.employee_ids)
    if person.universities is not None:
        versions = versions.filter(university_id__in=person.universities)
    phones = _held("phone", _values(versions, "phone"), person)
    ids = _held("max_id", _values(versions, "max_id"), person) | person.user_ids
    if ids:
        phones -= _values(PhoneLink.objects.filter(phone__in=phones).exclude(user_id__in=ids), "phone")
    person.phones |= phones
    links = PhoneLink.objects.filter(user_id__in=ids)
    _add_ids(person, ids - _values(links, "user_id") | _values(links.filter(phone__in=phones), "user_id"))


def _held(column: str, values: set[str], person: Person) -> set[str]:
    return {value for value, holders in _holders(column, values).items() if holders <= person.employee_ids}
