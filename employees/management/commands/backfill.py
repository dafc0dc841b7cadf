import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError
from django.utils.translation import ngettext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from employees.backfill import batches
from employees.backfill.candidates import Terms
from employees.models import BackfillRun, BatchStatus, RunStatus, University
from employees.models.backfill import ONE_AT_A_TIME, OPEN, UNDO_FOR

ACTIONS = ("start", "status", "pause", "resume", "retry-failed", "undo")
# Measured on two cores with clients beside it; the progress bar tells the real one.
ROWS_A_SECOND = 3_000
LONGEST_MS = 60_000


def _milliseconds(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isdecimal() and least <= int(text) <= LONGEST_MS):
            raise ArgumentTypeError(f"{least} to {LONGEST_MS} ms")
        return int(text)

    return read


class Command(BaseCommand):
    help = "Give employees the names that the profile cache has for them; can be paused, resumed and undone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=ACTIONS)
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, do nothing")
        parser.add_argument("--university-id", type=int, help="start: only this university")
        parser.add_argument(
            "--replace-names",
            action="store_true",
            help="start: also replace names from the direct API and outdated ones from the cache, for people that the"
            " rollout admits to the cache",
        )
        parser.add_argument("--batch-ms", type=_milliseconds(1), default=30, help="start: time target of a batch [30]")
        parser.add_argument("--pause-ms", type=_milliseconds(0), default=20, help="start: pause between batches [20]")
        parser.add_argument("--reason", default="by command", help="pause: why")
        parser.add_argument("--detach", action="store_true", help="start, resume, undo: leave the work to the worker")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        self.console = Console(file=cast("IO[str]", self.stdout))
        self.is_dry, self.is_detached = options["dry_run"], options["detach"]
        {
            "start": self.start,
            "status": self.status,
            "pause": self.pause,
            "resume": self.resume,
            "retry-failed": self.retry_failed,
            "undo": self.undo,
        }[action](options)

    def start(self, options: dict[str, Any]) -> None:
        university = self._university(options["university_id"])
        if self.is_dry:
            self._preview(university, replaces_names=options["replace_names"])
            return
        try:
            run = batches.start(
                university=university,
                replaces_names=options["replace_names"],
                batch_target_ms=options["batch_ms"],
                pause_ms=options["pause_ms"],
            )
        except IntegrityError as error:
            if ONE_AT_A_TIME not in str(error):
                raise
            raise CommandError("Another backfill is open: see `backfill status`") from None
        self._work(run)

    def status(self, options: dict[str, Any]) -> None:
        run = BackfillRun.objects.first()
        if run is None:
            self.stdout.write("No backfill has been started")
            return
        failed = run.batches.filter(status=BatchStatus.FAILED).count()
        because = f" ({run.pause_reason})" if run.status == RunStatus.PAUSED else ""
        scope = ", replaces names" if run.replaces_names else ""
        bad = ngettext("%(n)d batch failed", "%(n)d batches failed", failed) % {"n": failed}
        self.stdout.write(
            f"Backfill {run.pk}: {run.status}{because}{scope}, {run.rows_seen} of {run.rows_total} looked at, "
            f"{run.rows_changed} changed, {bad}, last batch at {run.seen_at:%Y-%m-%d %H:%M:%S}"
        )

    def pause(self, options: dict[str, Any]) -> None:
        run = self._latest(RunStatus.RUNNING)
        if not self.is_dry:
            BackfillRun.objects.filter(pk=run.pk).pause(options["reason"])
        self.stdout.write(f"Backfill {run.pk} {'would be ' * self.is_dry}paused at {run.rows_seen} of {run.rows_total}")

    def resume(self, options: dict[str, Any]) -> None:
        run = self._latest(*OPEN)
        if self.is_dry:
            self.stdout.write(f"Backfill {run.pk} would go on after id {run.last_id}")
            return
        run.resume()
        self._work(run)

    def retry_failed(self, options: dict[str, Any]) -> None:
        run = self._latest()
        failed = run.batches.filter(status=BatchStatus.FAILED).count()
        done = 0 if self.is_dry else batches.retry_failed(run)
        text = ngettext("%(done)d of %(n)d failed batch done now", "%(done)d of %(n)d failed batches done now", failed)
        self.stdout.write(f"Backfill {run.pk}: {text % {'done': done, 'n': failed}}")
        if done < failed and not self.is_dry and (obstacle := Terms.read().obstacle):
            raise CommandError(f"Stopped: {obstacle.label}")

    def undo(self, options: dict[str, Any]) -> None:
        run = self._latest(RunStatus.DONE, RunStatus.PAUSED, RunStatus.UNDOING)
        if run.is_forgotten:
            raise CommandError(f"Backfill {run.pk} is older than {UNDO_FOR.days} days: its prior values are forgotten")
        if self.is_dry:
            count = run.rows_changed
            text = ngettext(
                "up to %(n)d row would get its name back", "up to %(n)d rows would get their names back", count
            )
            self.stdout.write(f"Backfill {run.pk}: {text % {'n': count}}")
            return
        run.undo()
        self._work(run)

    def _university(self, pk: int | None) -> University | None:
        if pk is None:
            return None
        university = University.objects.filter(pk=pk).first()
        if university is None:
            raise CommandError(f"There is no university {pk}")
        return university

    def _latest(self, *statuses: RunStatus) -> BackfillRun:
        runs = BackfillRun.objects.filter(status__in=statuses) if statuses else BackfillRun.objects.all()
        run = runs.first()
        if run is None:
            raise CommandError("There is no such backfill" + (f" ({', '.join(statuses)})" if statuses else ""))
        return run

    def _preview(self, university: University | None, *, replaces_names: bool) -> None:
        if obstacle := Terms.read().obstacle:
            self.stdout.write(f"Nothing would change: {obstacle.label}.")
            return
        table = Table("university", "source now", "source then", "rows")
        rows = batches.preview(university, replaces_names=replaces_names)
        for name, now, then, count in rows:
            table.add_row(name, now, then, str(count))
        self.console.print(table)
        total = sum(row[3] for row in rows)
        text = ngettext(
            "%(n)d row would change, in about %(seconds)d s. Nothing was changed.",
            "%(n)d rows would change, in about %(seconds)d s. Nothing was changed.",
            total,
        )
        self.stdout.write(text % {"n": total, "seconds": round(total / ROWS_A_SECOND)})

    def _work(self, run: BackfillRun) -> None:
        if not self.is_detached:
            with self._progress() as progress:
                task = progress.add_task(f"backfill {run.pk}", total=run.rows_total)
                while batches.run_batch(run):
                    progress.update(task, completed=self._progressed(run), total=self._target(run))
                    time.sleep(run.pause_ms / 1000)
        run.refresh_from_db()
        self.status({})
        if run.status == RunStatus.PAUSED and not self.is_detached:
            raise CommandError(f"Paused: {run.pause_reason}")

    def _progressed(self, run: BackfillRun) -> int:
        if run.status == RunStatus.UNDOING:
            return run.batches.filter(status=BatchStatus.UNDONE).count()
        return run.rows_seen

    def _target(self, run: BackfillRun) -> int:
        if run.status == RunStatus.UNDOING:
            return run.batches.exclude(status=BatchStatus.FAILED).count()
        return max(run.rows_total, run.rows_seen)

    def _progress(self) -> Progress:
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        return Progress(TextColumn("{task.description}"), *columns, console=self.console, transient=True)
