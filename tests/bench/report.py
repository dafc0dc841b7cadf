"""The result of a benchmark, as a table and as JSON."""

from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass
class Report:
    """``rows`` is the table, ``figures`` the same numbers for JSON; any of the ``faults`` fails the benchmark."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        self.rows.append([str(cell) for cell in cells])

    def table(self) -> Table:
        first, *others = self.columns
        table = Table(first, title=self.title, caption="\n".join(self.notes))
        for column in others:
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(*row)
        return table
