"""The query string of the employee list: validated, then turned into a queryset."""

from typing import Any

from django.http import QueryDict
from rest_framework import serializers

from employees.models import EmployeeQuerySet, Role
from profiles.models import ProfileSource

# Each is the whole of an index, to be read either way: what no index serves would sort a million rows for a page.
ORDERINGS = {
    "id": ("id",),
    "phone": ("phone",),
    "last_name": ("last_name", "first_name", "id"),
    "created_at": ("created_at", "id"),
}
_SPELLINGS = {
    ",".join(sign + column for column in columns[:length]): [sign + column for column in columns]
    for columns in ORDERINGS.values()
    for sign in ("", "-")
    for length in range(1, len(columns) + 1)
}
_LONGEST_SEARCH = 200


class EmployeeQuerySerializer(serializers.Serializer[Any]):
    search = serializers.CharField(
        required=False,
        max_length=_LONGEST_SEARCH,
        help_text="words of a name, or a phone; under three characters: the start of a word",
    )
    query = serializers.CharField(required=False, max_length=_LONGEST_SEARCH, help_text="the same as search")
    university_id = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    profile_source = serializers.ChoiceField(ProfileSource.choices, required=False)
    role = serializers.ChoiceField(Role.choices, required=False)
    ordering = serializers.ChoiceField(
        list(_SPELLINGS),
        required=False,
        help_text="a field, with - for descending; equals by the fields that follow it here",
    )


def searched_for(params: QueryDict) -> str:
    return (params.get("search") or params.get("query") or "").replace("\0", "").strip()


def chosen(employees: EmployeeQuerySet, params: QueryDict) -> EmployeeQuerySet:
    """Search, filter and order as the query string says; an empty parameter counts as absent."""
    given = {name: value for name, value in params.items() if value and name in _FIELDS}
    query = EmployeeQuerySerializer(data=given | ({"search": text} if (text := searched_for(params)) else {}))
    query.is_valid(raise_exception=True)
    wanted = query.validated_data
    employees = employees.filter(**{name: wanted[name] for name in ("profile_source", "role") if name in wanted})
    if "university_id" in wanted:
        employees = employees.of_university(wanted["university_id"])
    if text:
        employees = employees.matching(text)
    return employees.order_by(*_SPELLINGS[wanted["ordering"]]) if "ordering" in wanted else employees


_FIELDS = frozenset({"university_id", "profile_source", "role", "ordering"})
