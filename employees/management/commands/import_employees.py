from argparse import ArgumentParser
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from import_export.results import Result
from rich.console import Console
from rich.progress import Progress
from tablib import Dataset

from employees.import_export.resources import EmployeeResource, problems
from employees.import_export.spreadsheets import Unreadable, read_csv, read_xlsx
from employees.models import University

MOST_ERRORS_SHOWN = 20
_READERS = {".csv": read_csv, ".xlsx": read_xlsx}


class Command(BaseCommand):
    help = (
        "Import employees from a CSV or XLSX file with the columns phone, last_name, first_name, middle_name, max_id, "
        "role and inn, kpp, university_name: all rows or, with an error in any, none."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="check every row, import nothing")
        parser.add_argument("--university-id", type=int, help="for rows that name no university")

    def handle(self, *args: Any, file: Path, dry_run: bool, university_id: int | None, **options: Any) -> None:
        university = University.objects.filter(pk=university_id).first() if university_id is not None else None
        if university_id is not None and university is None:
            raise CommandError(f"There is no university {university_id}")
        rows = _read(file)
        console = Console(file=cast("IO[str]", self.stdout))
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(file.name, total=len(rows))
            resource = EmployeeResource(university=university, on_row=lambda: progress.advance(task))
            result = resource.import_data(rows, dry_run=dry_run, rollback_on_validation_errors=True)
        self._report(result, dry_run)

    def _report(self, result: Result, dry_run: bool) -> None:
        found = problems(result)
        for problem in found[:MOST_ERRORS_SHOWN]:
            self.stderr.write(problem)
        if found:
            raise CommandError(f"Nothing was imported; rows with errors: {len(found)}")
        totals = result.totals
        would_be = "would be " if dry_run else ""
        self.stdout.write(
            f"{would_be}created: {totals['new']}, {would_be}changed: {totals['update']}, as they were: {totals['skip']}"
        )


def _read(file: Path) -> Dataset:
    read = _READERS.get(file.suffix.lower())
    if read is None:
        raise CommandError("The file has to be .csv or .xlsx")
    try:
        return read(file.read_bytes())
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from None
    except Unreadable as error:
        raise CommandError(f"{file} cannot be read: {error}") from None
