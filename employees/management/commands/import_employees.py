from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from config.lib import terminal
from config.lib.commands import BaseCommand
from employees.import_export.resources import EmployeeResource
from employees.import_export.tables import UnreadableFile, read
from employees.models import University
from profiles import phones

# Without markup, because the name of a file may be any text.
_COLUMNS = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())


class Command(BaseCommand):
    help = (
        "Import employees from a CSV or XLSX file with the columns phone, last_name, first_name, middle_name, max_id, "
        "role and inn, kpp, university_name, in English or Russian. All rows are imported, or none if a row has an "
        "error."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="check every row, import nothing")
        parser.add_argument("--university-id", type=int, help="the university of rows that name none")

    def handle(self, *args: Any, file: Path, dry_run: bool, university_id: int | None, **options: Any) -> None:
        university = None if university_id is None else University.objects.filter(pk=university_id).first()
        if university_id is not None and university is None:
            raise CommandError(f"There is no university {university_id}")
        try:
            rows = read(file.read_bytes())
        except (OSError, UnreadableFile) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CommandError(f"Cannot read {file}: {reason}") from None
        with Progress(*_COLUMNS, console=terminal.console(), transient=True) as progress:
            task = progress.add_task(file.name, total=len(rows))
            resource = EmployeeResource(university=university, on_row=lambda: progress.advance(task))
            result = resource.import_data(rows, dry_run=dry_run, rollback_on_validation_errors=True)
        if result.warning:
            self.stderr.write(result.warning)
        lines = result.lines(mask=phones.masked)
        for line in lines:
            self.stderr.write(line)
        if lines:
            raise CommandError(f"Nothing was imported. Rows with errors: {result.refused}")
        totals, would_be = result.totals, "would be " if dry_run else ""
        self.stdout.write(
            f"{would_be}created: {totals['new']}, {would_be}updated: {totals['update']}, unchanged: {totals['skip']}"
        )
