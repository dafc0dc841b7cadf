"""Pages of lists: those of the API, and those of tables too large to be counted for each page."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from django.core.paginator import Page, Paginator
from rest_framework.pagination import LimitOffsetPagination

# Where counts end and estimates begin, and the pages of the admin: in the API too (docs/reference/http-api.md).
EXACT = 10_000


class Pages(LimitOffsetPagination):
    """``limit`` and ``offset``: 50 rows by default, 100 at most (docs/reference/http-api.md)."""

    default_limit = 50
    max_limit = 100


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts exactly to 10 000 and takes the planner's word above; no page lies deeper, as it would cost its depth."""

    @cached_property
    def count(self) -> int:
        listed: Any = self.object_list
        rows = listed.order_by().select_related(None)
        counted = rows[: EXACT + 1].count()
        return counted if counted <= EXACT else max(expected(rows), EXACT + 1)

    @property
    def is_estimate(self) -> bool:
        return self.count > EXACT

    @property
    def reach(self) -> int:
        """Return how many rows the pages of a longer list hold."""
        return EXACT

    @cached_property
    def num_pages(self) -> int:
        return max(1, -(-min(self.count, EXACT) // self.per_page))

    def page(self, number: Any) -> Any:
        number = self.validate_number(number)
        bottom = (number - 1) * self.per_page
        return Page(self.object_list[bottom : bottom + self.per_page], number, self)


def expected(rows: Any) -> int:
    """Return the planner's number of rows; of a condition that nothing can fulfil Django asks nobody."""
    plan = rows.values("pk").explain(format="json")
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"]) if plan else 0
