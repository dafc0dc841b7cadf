"""Pagination of the API, and of admin lists of tables that are too large to be counted for each page."""

import json
import re
from functools import cached_property
from typing import Any

from django.core.paginator import Page, Paginator
from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request

# Up to this number, rows are counted and have pages; larger counts are estimates (docs/reference/http-api.md).
EXACT = 10_000
_LARGEST = 2**63 - 1
_NUMBER: dict[str, Any] = {"type": "integer", "format": "int64", "maximum": _LARGEST}
# As OpenAPI describes them.
PAGE_PARAMETERS: dict[str, dict[str, Any]] = {
    "limit": {"description": "Rows in the response: 50 by default, at most 100", "schema": _NUMBER | {"minimum": 1}},
    "offset": {"description": "Rows to skip", "schema": _NUMBER | {"minimum": 0}},
}


class Pages(LimitOffsetPagination):
    """Paginate by ``limit`` and ``offset``: 50 rows by default, at most 100 (docs/reference/http-api.md).

    An empty parameter counts as absent; a value that is not an integer in range is an error.
    """

    default_limit = 50
    max_limit = 100

    def get_limit(self, request: Request) -> int:
        return min(_number(request, "limit", 1) or self.default_limit, self.max_limit)

    def get_offset(self, request: Request) -> int:
        return _number(request, "offset", 0)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        properties = {"count": {"type": "integer"}, "next": link, "previous": link, "results": schema}
        return {"type": "object", "required": list(properties), "properties": properties}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [{"name": name, "in": "query", **parameter} for name, parameter in PAGE_PARAMETERS.items()]


def _number(request: Request, name: str, smallest: int) -> int:
    """Return a query parameter, 0 if it is empty or absent; raise ValidationError if it is not an integer in range."""
    text = request.query_params.get(name) or "0"
    is_number = re.fullmatch(r"\d{1,19}", text, re.ASCII) and smallest <= int(text) <= _LARGEST
    if request.query_params.get(name) and not is_number:
        message = _("Enter an integer from %(smallest)d to %(largest)d.") % {"smallest": smallest, "largest": _LARGEST}
        raise ValidationError({name: [message]})
    return int(text)


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Count up to 10,000 rows exactly and estimate larger numbers.

    Only the first 10,000 rows can be paged through, because each page takes longer than the one before.
    """

    @cached_property
    def count(self) -> int:
        listed: Any = self.object_list
        rows = listed.order_by().select_related(None)
        counted = rows[: EXACT + 1].count()
        return counted if counted <= EXACT else max(estimate(rows), EXACT + 1)

    @property
    def is_estimate(self) -> bool:
        return self.count > EXACT

    @property
    def reach(self) -> int:
        """Return the maximum number of rows that can be paged through."""
        return EXACT

    @cached_property
    def num_pages(self) -> int:
        return max(1, -(-min(self.count, EXACT) // self.per_page))

    def page(self, number: Any) -> Any:
        number = self.validate_number(number)
        bottom = (number - 1) * self.per_page
        return Page(self.object_list[bottom : bottom + self.per_page], number, self)


def estimate(rows: Any) -> int:
    """Return PostgreSQL's estimate of the number of rows; 0 if Django knows that no row can match."""
    plan = rows.values("pk").explain(format="json")
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"]) if plan else 0
