"""Pagination of the API, and of admin lists of tables that are too large to be counted for each page."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from django.core.paginator import Page, Paginator
from rest_framework.pagination import LimitOffsetPagination

# Up to this number, rows are counted and have pages; larger counts are estimates (docs/reference/http-api.md).
EXACT = 10_000


class Pages(LimitOffsetPagination):
    """Paginate by ``limit`` and ``offset``: 50 rows by default, at most 100 (docs/reference/http-api.md)."""

    default_limit = 50
    max_limit = 100


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Count up to 10,000 rows exactly and estimate larger numbers.

    Only the first 10,000 rows have pages, because a page costs more the deeper it is.
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
        """Return the maximum number of rows that have pages."""
        return EXACT

    @cached_property
    def num_pages(self) -> int:
        return max(1, -(-min(self.count, EXACT) // self.per_page))

    def page(self, number: Any) -> Any:
        number = self.validate_number(number)
        bottom = (number - 1) * self.per_page
        return Page(self.object_list[bottom : bottom + self.per_page], number, self)


def estimate(rows: Any) -> int:
    """Return the planner's estimate of the number of rows; 0 if Django knows that no row can match."""
    plan = rows.values("pk").explain(format="json")
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"]) if plan else 0
