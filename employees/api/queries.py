"""The query string of the employee list: validated, then turned into a queryset."""

from typing import Any

from django.http import QueryDict
from rest_framework import serializers

from employees.models import EmployeeQuerySet, Role
from profiles.models import ProfileSource

# Each is the whole of an index, which PostgreSQL reads in both directions: otherwise a page would sort a million rows.
ORDERINGS = {
    "id": ("id",),
    "phone": ("phone",),
    "last_name": ("last_name", "first_name", "id"),
    "created_at": ("created_at", "id"),
}
# Any start of an ordering stands for all of it.
_COLUMNS = {
    ",".join(sign + column for column in columns[:length]): [sign + column for column in columns]
    for columns in ORDERINGS.values()
    for sign in ("", "-")
    for length in range(1, len(columns) + 1)
}
_MAX_SEARCH = 200


class EmployeeQuerySerializer(serializers.Serializer[Any]):
    search = serializers.CharField(
        required=False,
        max_length=_MAX_SEARCH,
        help_text="words of a name, or a phone; words under three characters match at the start of a word",
    )
    query = serializers.CharField(required=False, max_length=_MAX_SEARCH, help_text="alias of search")
    university_id = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    profile_source = serializers.ChoiceField(ProfileSource.choices, required=False)
    role = serializers.ChoiceField(Role.choices, required=False)
    ordering = serializers.ChoiceField(
        list(_COLUMNS), required=False, help_text="a field, with - for descending; ties by the fields that follow it"
    )


def search_text(params: QueryDict) -> str:
    return (params.get("search") or params.get("query") or "").replace("\0", "").strip()


def filter_employees(employees: EmployeeQuerySet, params: QueryDict) -> EmployeeQuerySet:
    """Search, filter and order by the query string; an empty parameter counts as absent."""
    names = ("university_id", "profile_source", "role", "ordering")
    values = {name: params[name] for name in names if params.get(name)}
    text = search_text(params)
    query = EmployeeQuerySerializer(data=values | ({"search": text} if text else {}))
    query.is_valid(raise_exception=True)
    valid = query.validated_data
    employees = employees.filter(**{name: valid[name] for name in ("profile_source", "role") if name in valid})
    if "university_id" in valid:
        employees = employees.of_university(valid["university_id"])
    if text:
        employees = employees.matching(text)
    return employees.order_by(*_COLUMNS[valid["ordering"]]) if "ordering" in valid else employees
