import json
from argparse import ArgumentParser
from typing import IO, Any, cast

from django.template.defaultfilters import filesizeformat
from django.utils.functional import Promise
from rich.table import Table

from config.lib import terminal
from config.lib.commands import BaseCommand
from config.lib.messages import shown_number
from employees.assessment import assess
from profiles.models import ProfileSource

_MOST_SHOWN = 20
# The names of the JSON's fields in words; settings keep the names of their variables.
_TITLES: dict[str, str | Promise] = {
    "totals": "Totals",
    "by_source": "Employees by name source",
    "configuration": "Configuration",
    "cache": "Cache",
    "total_employees": "Employees",
    "employees_with_names": "Employees with a name",
    "employees_with_max_id": "Employees with a MAX ID",
    "universities": "Universities",
    "cached_profiles": "Cached profiles",
    "projected_bytes": "Memory that all profiles need",
    "used_memory_bytes": "Used memory",
    "maxmemory_bytes": "Memory limit",
    "maxmemory_policy": "Eviction policy",
} | {str(source.value): source.label for source in ProfileSource}


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "—"
    if name == "maxmemory_bytes" and not value:
        return "none"
    if name.endswith("_bytes"):
        return filesizeformat(value)
    return shown_number(value) if isinstance(value, int) else str(value)


class Command(BaseCommand):
    help = "Assess the directory before the migration: data, sources, configuration, memory, and what blocks phase 1."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        report = assess()
        if options["json"]:
            self.stdout.write(json.dumps(report, ensure_ascii=False, indent=2))
            return
        console = terminal.console(cast("IO[str]", self.stdout))
        for title in ("totals", "by_source", "configuration", "cache"):
            table = Table(str(_TITLES[title]), "", box=None, pad_edge=False, header_style="bold")
            for name, value in report[title].items():
                table.add_row(str(_TITLES.get(name, name)), _shown(name, value))
            table.add_row()
            console.print(table)
        for pks in report["look_alike_universities"]:
            self.stdout.write(f"Universities with the same name: {', '.join(map(str, pks))}. Merge them by hand.")
        if pks := report["no_max_ids"]:
            shown = ", ".join(map(str, pks[:_MOST_SHOWN])) + (" …" if len(pks) > _MOST_SHOWN else "")
            self.stdout.write(
                "Employees whose MAX ID is a word, a date or a decimal number, which would be refused today:"
                f" {len(pks)}. Correct or clear it in the admin (all IDs: --json): {shown}"
            )
        blockers = report["blockers"]
        self.stdout.write("Phase 1 is blocked by:" if blockers else "Nothing blocks phase 1.")
        for blocker in blockers:
            self.stdout.write(f"  - {blocker}")
