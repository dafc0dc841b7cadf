import json
from argparse import ArgumentParser
from typing import IO, Any, cast

from rich.console import Console
from rich.table import Table

from config.lib.commands import BaseCommand
from employees.assessment import assess


class Command(BaseCommand):
    help = "Assess the directory before the migration: data, sources, configuration, memory, and what blocks phase 1."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        report = assess()
        if options["json"]:
            self.stdout.write(json.dumps(report, ensure_ascii=False, indent=2))
            return
        console = Console(file=cast("IO[str]", self.stdout), width=100, markup=False)
        for title in ("totals", "by_source", "configuration", "cache"):
            table = Table(title.replace("_", " "), "")
            for name, value in report[title].items():
                table.add_row(name, "—" if value is None else str(value))
            console.print(table)
        for pks in report["look_alike_universities"]:
            self.stdout.write(f"Universities with the same name: {', '.join(map(str, pks))}. Merge them by hand.")
        blockers = report["blockers"]
        self.stdout.write("Phase 1 is blocked by:" if blockers else "Nothing blocks phase 1.")
        for blocker in blockers:
            self.stdout.write(f"  - {blocker}")
