"""Compile a query once: Django needs longer to compile a short query than PostgreSQL needs to run it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Expression, Model
from django.db.models.query import get_related_populators  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from django.db.models import QuerySet

M = TypeVar("M", bound=Model)


class Parameter(Expression):
    """A named placeholder in a CompiledQuery, whose value is given at each run.

    None matches no row: the SQL compares with NULL.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        return "%s", (self,)


class _Compiled(NamedTuple):
    sql: str
    parameters: list[Any]
    model: type[Any]
    columns: slice
    attributes: list[str]
    related: list[Any]


class CompiledQuery(Generic[M]):
    """Find one object by a query that is compiled at the first use.

    ``build`` returns the query, with a Parameter in place of each value. The query may use ``only`` and
    ``select_related``, but not annotations, and no columns that Django converts after reading them, such as JSON.
    """

    def __init__(self, build: Callable[[], QuerySet[M]]) -> None:
        self._build = build

    def first(self, **values: Any) -> M | None:
        """Run the query with these values for its parameters; return the first object, or None if there is none."""
        compiled = self._compiled
        given = [values[value.name] if isinstance(value, Parameter) else value for value in compiled.parameters]
        with connection.cursor() as cursor:
            cursor.execute(compiled.sql, given)
            row = cursor.fetchone()
        if row is None:
            return None
        found: M = compiled.model.from_db(DEFAULT_DB_ALIAS, compiled.attributes, row[compiled.columns])
        for populator in compiled.related:
            populator.populate(row, found)
        return found

    @cached_property
    def _compiled(self) -> _Compiled:
        compiler: Any = self._build()[:1].query.get_compiler(DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
        selected, info = [expression for expression, *_ in compiler.select], compiler.klass_info
        if compiler.annotation_col_map or compiler.get_converters(selected):
            raise TypeError(f"annotations and converted columns are not supported: {sql}")
        own = info["select_fields"]
        columns = slice(own[0], own[-1] + 1)
        attributes = [column.target.attname for column in selected[columns]]
        related = get_related_populators(info, compiler.select, DEFAULT_DB_ALIAS)
        return _Compiled(sql, list(parameters), info["model"], columns, attributes, related)
