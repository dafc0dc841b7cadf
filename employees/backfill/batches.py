"""Backfill the names of employees, with their source, from the profile cache.

Each batch is one transaction that locks the run's row, so a killed process loses only its current batch, and two
processes take turns.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Count, Max
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from config.lib import logs, sql
from config.lib.messages import Message, Text
from employees.backfill.candidates import Candidate, DecisionContext, choices
from employees.models import (
    ONE_AT_A_TIME,
    UNDO_FOR,
    BackfillBatch,
    BackfillRun,
    BatchStatus,
    Employee,
    RunStatus,
    University,
)
from profiles.models import ProfileSource
from profiles.name_rule import NameChoice
from profiles.rollout import rules
from profiles.rollout.models import Action, Change, Rollout
from profiles.rollout.rollout_settings import RolloutSettings
from profiles.rollout.rules import ChangeRefused

MOSTLY_FAILED = gettext_noop("more than half of the last 50 batches failed")
HELD = gettext_noop("the rollout is paused")
MIN_BATCH, MAX_BATCH = 100, 20_000
FAILURE_WINDOW = 50
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '2s'"
logger = logging.getLogger(__name__)

# The SELECT of the candidates has locked the rows, so the self-join returns their previous values.
_FILL = """
WITH changed AS (
    UPDATE employees e
    SET first_name = c.first_name, last_name = c.last_name, middle_name = c.middle_name,
        profile_source = c.profile_source, profile_last_updated = c.updated_at, max_id = c.max_id,
        updated_at = clock_timestamp(),
        max_id_updated_at = CASE WHEN b.max_id IS NULL THEN clock_timestamp() ELSE b.max_id_updated_at END
    FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::text[])
        AS c (id, first_name, last_name, middle_name, profile_source, updated_at, max_id)
    JOIN employees b ON b.id = c.id
    WHERE e.id = c.id
    RETURNING jsonb_build_array(
        e.id,
        jsonb_build_array(b.first_name, b.last_name, b.middle_name, b.profile_source, b.profile_last_updated, b.max_id),
        jsonb_build_array(e.first_name, e.last_name, e.middle_name, e.profile_source, e.profile_last_updated, e.max_id)
    ) AS change
)
INSERT INTO backfill_batches (run_id, status, after_id, until_id, rows_seen, rows_changed, duration_ms, error, changes,
    created_at)
SELECT %b::bigint, 'done', %b::bigint, %b::bigint, %b::bigint, count(*), 0, '', coalesce(jsonb_agg(change), '[]'),
    clock_timestamp()
FROM changed
ON CONFLICT ON CONSTRAINT backfill_batches_range_once DO UPDATE SET status = 'done', error = '',
    rows_changed = EXCLUDED.rows_changed, changes = EXCLUDED.changes
RETURNING id, rows_changed
"""

# Rows that have been changed since the backfill remain unchanged.
_UNDO = """
UPDATE employees e
SET first_name = c.v->1->>0, last_name = c.v->1->>1, middle_name = c.v->1->>2, profile_source = c.v->1->>3,
    profile_last_updated = (c.v->1->>4)::timestamptz, max_id = c.v->1->>5, updated_at = clock_timestamp(),
    max_id_updated_at = CASE WHEN c.v->1->>5 IS NULL THEN NULL ELSE e.max_id_updated_at END
FROM (SELECT jsonb_array_elements(changes) AS v FROM backfill_batches WHERE id = %s) c
WHERE e.id = (c.v->>0)::bigint AND
    (e.first_name, e.last_name, e.middle_name, e.profile_source, e.profile_last_updated, e.max_id) IS NOT DISTINCT FROM
    (c.v->2->>0, c.v->2->>1, c.v->2->>2, c.v->2->>3, (c.v->2->>4)::timestamptz, c.v->2->>5)
"""


class NameChange(NamedTuple):
    """An employee whose name a run would change, with the present name and the new one."""

    employee: int
    university: str
    before: str
    after: str


class Preview(NamedTuple):
    """The changes that a run would make, by university: tuples (university, current source, new source, row count).

    ``counts`` has the same tuples with the universities' IDs instead of their names. ``examples`` has some changes.
    """

    rows: list[tuple[str, str, str, int]]
    examples: list[NameChange]
    counts: list[tuple[int, str, str, int]]

    @property
    def total(self) -> int:
        return sum(row[3] for row in self.rows)

    @property
    def labelled(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield the rows with the labels of the sources instead of their codes."""
        for university, before, after, count in self.rows:
            yield university, str(ProfileSource(before).label), str(ProfileSource(after).label), count


def request(*, reason: str, by: str, **options: Any) -> BackfillRun:
    """Start a run under the same conditions as a rollout step: with a reason, and not while the rollout is paused.

    ``by`` is the name of the user who starts it, and ``options`` are fields of BackfillRun. Raise ChangeRefused if the
    reason is missing, the rollout is paused or another run is open.
    """
    reason = check_reason(reason)
    refuse_while_held()
    with _refuse_second_run():
        return start(reason=reason, started_by=by[:150], **options)


@contextmanager
def _refuse_second_run() -> Iterator[None]:
    """Raise ChangeRefused instead of IntegrityError if another run is open."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if ONE_AT_A_TIME not in str(error):
            raise
        raise ChangeRefused(
            Message(
                "Only one backfill can be open at a time. Let the current one finish, or pause it and choose “Restore"
                " previous names”."
            )
        ) from None


def act(name: str, run: BackfillRun, reason: str) -> None:
    """Pause, resume or undo a run; ``name`` is the action.

    A resume raises ChangeRefused while the rollout is paused or stopped. An undo raises ChangeRefused while another run
    is open, or if the run can no longer be undone.
    """
    if name == "pause":
        BackfillRun.objects.filter(pk=run.pk).pause(reason)
    elif name == "resume":
        refuse_while_held()
        run.resume()
    else:
        refuse_late_undo(run)
        with _refuse_second_run():
            run.undo()
        if run.status != RunStatus.UNDOING:
            text = _("This is no longer possible. The backfill's status: %s.") % run.get_status_display()
            raise ChangeRefused(text)


def record(action: Action, run: BackfillRun, *, by: str, reason: str) -> None:
    """Write the audit row of an action by a management command, which has no user account for the admin log."""
    after = {"backfill": run.pk} | ({"university": run.university_id} if run.university_id else {})
    reason = check_reason(reason or "by command")
    Change.objects.create(by=by[:150], action=action, reason=reason, revision=Rollout.current().revision, after=after)


def refuse_late_undo(run: BackfillRun) -> None:
    """Raise ChangeRefused if the run is too old to be undone, because the previous names are deleted after UNDO_FOR."""
    if run.is_undo_expired:
        params = {"run": run.pk, "days": UNDO_FOR.days}
        raise ChangeRefused(
            Message("Backfill %(run)d cannot be undone: previous names are deleted after %(days)d days", params)
        )


def check_reason(reason: Text) -> str:
    return str(rules.reason(reason))


def refuse_while_held() -> None:
    """Raise ChangeRefused while the rollout is paused or stopped, with the same message as for a rollout step."""
    RolloutSettings.read(Rollout.current()).refuse_raise()


def reason_to_wait(context: DecisionContext) -> str:
    """Return, in English, the reason why no batch may run now; an empty string if a batch may run."""
    with translation.override(None):
        if context.obstacle is not None:
            return str(context.obstacle.label)
    return HELD if Rollout.current().is_paused else ""


def start(*, university: University | None = None, **options: Any) -> BackfillRun:
    """Start a run over the current employees; raise IntegrityError if another run is open.

    ``options`` are fields of BackfillRun.
    """
    return begin(BackfillRun(university=university, **options))


@transaction.atomic
def begin(run: BackfillRun) -> BackfillRun:
    """Count the employees and save the run for the task worker; raise IntegrityError if another run is open."""
    employees = Employee.objects.filter(university=run.university) if run.university else Employee.objects.all()
    run.until_id = employees.aggregate(last=Max("pk"))["last"] or 0
    run.rows_total = employees.count()
    run.save(force_insert=True)
    return run


def preview_names(university: University | None = None, *, replaces_names: bool = False, limit: int) -> Preview:
    """Return the changes that a run would make, with at most ``limit`` examples."""
    counts: Counter[tuple[int, str, str]] = Counter()
    first: list[tuple[Candidate, NameChoice]] = []
    context = DecisionContext.read(replaces_names=replaces_names)
    for candidate, choice in choices(context, university_id=university.pk if university else None):
        counts[candidate.university_id, candidate.profile_source, str(choice.source)] += 1
        if len(first) < limit:
            first.append((candidate, choice))
    titles = dict(University.objects.filter(pk__in={key[0] for key in counts}).values_list("pk", "name"))
    rows = sorted((titles[pk], before, after, rows) for (pk, before, after), rows in counts.items())
    examples = [
        NameChange(
            candidate.id,
            titles[candidate.university_id],
            f"{candidate.first_name} {candidate.last_name}".strip(),
            f"{choice.first_name} {choice.last_name}".strip(),
        )
        for candidate, choice in first
    ]
    return Preview(rows, examples, [(*key, number) for key, number in sorted(counts.items())])


def work_on_open_run(until: float) -> None:
    """Process batches of the run that is in progress or being undone, until the monotonic time ``until``."""
    run = BackfillRun.objects.filter(status__in=[RunStatus.RUNNING, RunStatus.UNDOING]).first()
    if run is not None:
        while time.monotonic() < until and run_batch(run):
            time.sleep(run.pause_ms / 1000)


def run_batch(run: BackfillRun) -> bool:
    """Fill or undo one batch; refresh ``run`` from the database, and return whether there may be more batches."""
    after_id = run.last_id
    try:
        with transaction.atomic():
            context = _lock(run)
            after_id = run.last_id
            if run.status == RunStatus.UNDOING:
                return _undo_batch(run)
            if run.status != RunStatus.RUNNING:
                return False
            until_id, seen = _next_range(run)
            if not seen:
                return _finish(run, RunStatus.DONE)
            started = time.monotonic()
            batch_id, changed = _fill(run, context, run.last_id, until_id, seen)
            took_ms = round((time.monotonic() - started) * 1000)
            BackfillBatch.objects.filter(pk=batch_id).update(duration_ms=took_ms)
            run.rows_changed += changed
            run.batch_size = _next_batch_size(run.batch_size, took_ms, run.batch_target_ms)
            return _advance(run, until_id, seen)
    except DatabaseError as error:
        return _record_failure(run, error, after_id)


def _lock(run: BackfillRun) -> DecisionContext:
    """Lock and refresh the run, and return the context for its next batch.

    Pause the run if the rollout is paused or the cache is off.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_TIMEOUT)
    run.refresh_from_db(from_queryset=BackfillRun.objects.select_for_update())
    context = DecisionContext.read(replaces_names=run.replaces_names, is_fresh=True)
    if run.status == RunStatus.RUNNING and (why := reason_to_wait(context)):
        run.status, run.paused_because = RunStatus.PAUSED, why
        BackfillRun.objects.filter(pk=run.pk).pause(run.paused_because)
    return context


def _next_range(run: BackfillRun) -> tuple[int, int]:
    """Return the last employee ID in the next batch and the batch's number of employees; (0, 0) if none are left."""
    rows = Employee.objects.filter(pk__gt=run.last_id, pk__lte=run.until_id)
    if run.university_id:
        rows = rows.filter(university_id=run.university_id)
    batch = rows.order_by("pk")[: run.batch_size].aggregate(last=Max("pk"), seen=Count("pk"))
    return batch["last"] or 0, batch["seen"]


def _fill(run: BackfillRun, context: DecisionContext, after_id: int, until_id: int, seen: int) -> tuple[int, int]:
    """Set the names of the employees with IDs above ``after_id`` and up to ``until_id``, and record the batch.

    The batch stores the employees' previous values and ``seen``, the number of employees in the range. Return the
    batch's ID and the number of employees changed.
    """
    where: dict[str, Any] = {"after_id": after_id, "until_id": until_id, "university_id": run.university_id}
    rows = [
        (row.id, name.first_name, name.last_name, name.middle_name, str(name.source), name.updated_at, name.max_id)
        for row, name in choices(context, **where, is_locked=True)
    ]
    columns = list(map(list, zip(*rows, strict=True))) or [[]] * 7
    ((batch_id, changed),) = sql.run(_FILL, [*columns, run.pk, after_id, until_id, seen])
    return batch_id, changed


def _next_batch_size(size: int, took_ms: int, target_ms: int) -> int:
    """Return the batch size that would take ``target_ms``, but at least half and at most twice the current size."""
    factor = min(2.0, max(0.5, target_ms / max(took_ms, 1)))
    return min(MAX_BATCH, max(MIN_BATCH, round(size * factor)))


def _advance(run: BackfillRun, until_id: int, seen: int) -> bool:
    run.last_id, run.seen_at = until_id, timezone.now()
    run.rows_seen += seen
    run.save(update_fields=["last_id", "seen_at", "rows_seen", "rows_changed", "batch_size"])
    return True


def _finish(run: BackfillRun, status: RunStatus) -> bool:
    run.status, run.finished_at = status, timezone.now()
    run.save(update_fields=["status", "finished_at"])
    return False


@transaction.atomic
def _record_failure(run: BackfillRun, error: DatabaseError, after_id: int) -> bool:
    """Record that the batch after the ID ``after_id`` failed, and skip it; return whether there may be more batches.

    Pause the run if more than half of the last fifty batches have failed.
    """
    _lock(run)
    is_open = run.status in {RunStatus.RUNNING, RunStatus.UNDOING}
    # A batch whose commit raised an error may be stored nevertheless, for example after a wait for a standby. Then
    # nothing is to be skipped, because the next batch has not been tried.
    if run.last_id != after_id or run.status in {RunStatus.DONE, RunStatus.UNDONE}:
        return is_open
    logger.warning("backfill batch failed", extra={"event": "backfill_batch_failed", "error": type(error).__name__})
    if run.status != RunStatus.RUNNING:
        return is_open
    until_id, seen = _next_range(run)
    if not seen:
        # Only the end of the run has failed, which the next task tries again. The run must not start from the
        # beginning, because it would replace the names kept for an undo.
        return False
    bounds = {"after_id": run.last_id, "until_id": until_id, "rows_seen": seen}
    run.batches.create(status=BatchStatus.FAILED, error=logs.error_line(error)[:200], **bounds)
    _advance(run, until_id, seen)
    recent = list(run.batches.order_by("-id").values_list("status", flat=True)[:FAILURE_WINDOW])
    if len(recent) == FAILURE_WINDOW and recent.count(BatchStatus.FAILED) * 2 > FAILURE_WINDOW:
        BackfillRun.objects.filter(pk=run.pk).pause(MOSTLY_FAILED)
        return False
    return True


def retry_failed(run: BackfillRun) -> int:
    """Retry the failed batches; return the number of batches done.

    Stop if the rollout is paused, the cache is off or an undo has begun; skip batches retried by another process.
    """
    done = 0
    for batch in run.batches.filter(status=BatchStatus.FAILED):
        with transaction.atomic():
            context = _lock(run)
            if reason_to_wait(context) or run.status in {RunStatus.UNDOING, RunStatus.UNDONE}:
                break
            if not run.batches.filter(pk=batch.pk, status=BatchStatus.FAILED).exists():
                continue
            run.rows_changed += _fill(run, context, batch.after_id, batch.until_id, batch.rows_seen)[1]
            run.save(update_fields=["rows_changed"])
        done += 1
    return done


def _undo_batch(run: BackfillRun) -> bool:
    batch = run.batches.filter(status=BatchStatus.DONE).order_by("-id").defer("changes").first()
    if batch is None:
        return _finish(run, RunStatus.UNDONE)
    with connection.cursor() as cursor:
        cursor.execute(_UNDO, [batch.pk])
        run.rows_restored += cursor.rowcount
    run.batches.filter(pk=batch.pk).update(status=BatchStatus.UNDONE)
    run.seen_at = timezone.now()
    run.save(update_fields=["seen_at", "rows_restored"])
    return True
