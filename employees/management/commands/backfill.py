import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import IO, Any, cast

from django.core.management.base import CommandError
from django.db import transaction
from django.utils.translation import gettext
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from config.lib import shell_user, terminal, times
from config.lib.commands import BaseCommand
from config.lib.messages import shown_number
from employees.backfill import batches
from employees.backfill.candidates import DecisionContext
from employees.models import OPEN, BackfillRun, BatchStatus, RunStatus, University
from profiles.rollout.models import Action
from profiles.rollout.rules import ChangeRefused

ACTIONS = ("start", "status", "pause", "resume", "retry-failed", "undo")
# For the time estimate of a dry run; measured on two cores while other clients used the database.
ROWS_PER_SECOND = 3_000
MAX_MS = 60_000


def _milliseconds(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isdecimal() and minimum <= int(text) <= MAX_MS):
            raise ArgumentTypeError(f"must be {minimum} to {MAX_MS} ms")
        return int(text)

    return parse


class Command(BaseCommand):
    help = "Give employees names from the profile cache. A backfill can be paused, resumed and undone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=ACTIONS)
        parser.add_argument("--dry-run", action="store_true", help="show what would be done without doing it")
        parser.add_argument("--university-id", type=int, help="start: only this university")
        parser.add_argument(
            "--replace-names",
            action="store_true",
            help="start: also replace names from the direct API and outdated names from the cache, for people that"
            " the rollout admits to the cache",
        )
        parser.add_argument("--batch-ms", type=_milliseconds(1), default=30, help="start: target time of a batch [30]")
        parser.add_argument("--pause-ms", type=_milliseconds(0), default=20, help="start: pause between batches [20]")
        parser.add_argument("--reason", default="", help="the reason, kept in the audit log")
        parser.add_argument("--by", default=None, help="who does it [the user of this shell]")
        parser.add_argument("--limit", type=int, default=10, help="start --dry-run: changed names to list [10]")
        parser.add_argument("--detach", action="store_true", help="start, resume, undo: leave it to the task worker")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        try:
            getattr(self, action.replace("-", "_"))(options, is_dry=options["dry_run"])
        except ChangeRefused as refused:
            raise CommandError(str(refused)) from None

    def start(self, options: dict[str, Any], *, is_dry: bool) -> None:
        pk = options["university_id"]
        university = University.objects.filter(pk=pk).first()
        if pk is not None and university is None:
            raise CommandError(f"There is no university {pk}")
        if is_dry:
            self._preview(university, replaces_names=options["replace_names"], limit=options["limit"])
            return
        run = batches.request(
            reason=options["reason"],
            by=options["by"] or shell_user.login(),
            university=university,
            replaces_names=options["replace_names"],
            batch_target_ms=options["batch_ms"],
            pause_ms=options["pause_ms"],
        )
        self._work(run, is_detached=options["detach"])

    def _preview(self, university: University | None, *, replaces_names: bool, limit: int) -> None:
        if obstacle := DecisionContext.read().obstacle:
            self.stdout.write(f"Nothing would change: {obstacle.label}.")
            return
        table = Table("University", "Source now", "New source", "Rows", box=None, pad_edge=False)
        shown = batches.preview_names(university, replaces_names=replaces_names, limit=limit)
        for name, before, after, count in shown.rows:
            table.add_row(name, before, after, shown_number(count))
        console = terminal.console(cast("IO[str]", self.stdout))
        console.print(table)
        for change in shown.examples:
            console.print(f"{change.employee}: {change.before} → {change.after} ({change.university})")
        self.stdout.write(
            f"Rows that would change: {shown_number(shown.total)}, in about {shown.total / ROWS_PER_SECOND:.0f} s."
        )
        batches.refuse_while_held()

    def status(self, options: dict[str, Any], *, is_dry: bool) -> None:
        run = BackfillRun.objects.first()
        if run is None:
            self.stdout.write("No backfill has been started")
            return
        failed = run.batches.filter(status=BatchStatus.FAILED).count()
        reason = f" ({run.pause_reason})" if run.status == RunStatus.PAUSED else ""
        scope = ", replaces names" if run.replaces_names else ""
        self.stdout.write(
            f"Backfill {run.pk}: {run.status}{reason}{scope}, {run.rows_seen} of {run.rows_total} checked, "
            f"{run.rows_changed} changed, failed batches: {failed}, {run.rows_unchanged} unchanged, "
            f"{run.rows_restored} given back, last batch at {times.stamp(run.seen_at)}"
        )

    def pause(self, options: dict[str, Any], *, is_dry: bool) -> None:
        run = self._latest(RunStatus.RUNNING)
        if not is_dry:
            self._act("pause", run, options)
        self.stdout.write(f"Backfill {run.pk} {'would be ' * is_dry}paused at {run.rows_seen} of {run.rows_total}")

    def resume(self, options: dict[str, Any], *, is_dry: bool) -> None:
        run = self._latest(*OPEN)
        if is_dry:
            self.stdout.write(f"Backfill {run.pk} would continue after id {run.last_id}")
            return
        self._act("resume", run, options)
        self._work(run, is_detached=options["detach"])

    def retry_failed(self, options: dict[str, Any], *, is_dry: bool) -> None:
        run = self._latest(RunStatus.PAUSED, RunStatus.DONE)
        failed = run.batches.filter(status=BatchStatus.FAILED).count()
        if not is_dry:
            self._record("retry", run, options)
        done = 0 if is_dry else batches.retry_failed(run)
        self.stdout.write(f"Backfill {run.pk}: failed batches retried: {done} of {failed}")
        if done < failed and not is_dry and (why := batches.reason_to_wait(DecisionContext.read())):
            raise CommandError(f"Stopped: {gettext(why)}")

    def undo(self, options: dict[str, Any], *, is_dry: bool) -> None:
        run = self._latest(RunStatus.DONE, RunStatus.PAUSED, RunStatus.UNDOING)
        batches.refuse_late_undo(run)
        if is_dry:
            self.stdout.write(f"Backfill {run.pk}: names that would be restored: up to {run.rows_changed}")
            return
        self._act("undo", run, options)
        self._work(run, is_detached=options["detach"])

    @transaction.atomic
    def _act(self, name: str, run: BackfillRun, options: dict[str, Any]) -> None:
        batches.act(name, run, options["reason"] or "by command")
        self._record(name, run, options)

    def _record(self, name: str, run: BackfillRun, options: dict[str, Any]) -> None:
        by = options["by"] or shell_user.login()
        batches.record(Action(f"backfill-{name}"), run, by=by, reason=options["reason"])

    def _latest(self, *statuses: RunStatus) -> BackfillRun:
        run = BackfillRun.objects.filter(status__in=statuses or RunStatus.values).first()
        if run is None:
            raise CommandError("There is no such backfill" + (f" ({', '.join(statuses)})" if statuses else ""))
        return run

    def _work(self, run: BackfillRun, *, is_detached: bool) -> None:
        if not is_detached:
            console = terminal.console()
            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
            with Progress(TextColumn("{task.description}"), *columns, console=console, transient=True) as progress:
                task = progress.add_task(f"backfill {run.pk}", total=run.rows_total)
                while batches.run_batch(run):
                    done, total = run.progress()
                    progress.update(task, completed=done, total=total)
                    time.sleep(run.pause_ms / 1000)
        run.refresh_from_db()
        self.status({}, is_dry=False)
        if run.status == RunStatus.PAUSED and not is_detached:
            raise CommandError(f"Paused: {run.pause_reason}")
