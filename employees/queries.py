"""The query string of the employee list: validated, then turned into a queryset."""

import re
from typing import Any

from django.http import QueryDict
from rest_framework import serializers

from employees.models import EmployeeQuerySet, Role
from profiles.models import ProfileSource

ORDERINGS = ("id", "last_name", "first_name", "phone", "created_at", "updated_at", "profile_last_updated")
_ORDERING = re.compile(r"-?({0})(,-?({0}))*".format("|".join(ORDERINGS)))
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
    ordering = serializers.RegexField(
        rf"^{_ORDERING.pattern}$",
        required=False,
        help_text="fields, comma-separated, with - for descending: " + ", ".join(ORDERINGS),
    )


def searched_for(params: QueryDict) -> str:
    return (params.get("search") or params.get("query") or "").replace("\0", "").strip()


def chosen(employees: EmployeeQuerySet, params: QueryDict) -> EmployeeQuerySet:
    """Search, filter and order as the query string says; an empty parameter counts as absent."""
    given = {name: value for name, value in params.items() if value and name in _FIELDS}
    query = EmployeeQuerySerializer(data=given | ({"search": text} if (text := searched_for(params)) else {}))
    query.is_valid(raise_exception=True)
    wanted = query.validated_data
    employees = employees.filter(
        **{name: wanted[name] for name in ("university_id", "profile_source", "role") if name in wanted}
    )
    if text:
        employees = employees.matching(text)
    ordering = wanted["ordering"].split(",") if "ordering" in wanted else []
    return employees.order_by(*ordering, "id") if ordering else employees


_FIELDS = frozenset({"university_id", "profile_source", "role", "ordering"})
