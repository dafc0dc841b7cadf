"""Tasks that do long work in slices of a few seconds, so that one worker can run them all and be killed at any time."""

import time

from celery import shared_task

from config.lib import clock
from employees import max_id_search, naming
from employees.backfill import batches
from employees.import_export.stored_files import ImportFile
from employees.models import UNDO_FOR, BackfillBatch, IdempotentRequest, RunStatus

SLICE_SECONDS = 4.0


@shared_task(ignore_result=True)
def work_on_jobs() -> None:
    until = time.monotonic() + SLICE_SECONDS
    max_id_search.work_on(until)
    batches.work_on_open_run(until)


@shared_task(ignore_result=True)
def retry_unresolved() -> None:
    naming.retry_unresolved(time.monotonic() + SLICE_SECONDS)


@shared_task(ignore_result=True)
def forget_idempotent_requests() -> int:
    return IdempotentRequest.objects.outdated().delete()[0]


@shared_task(ignore_result=True)
def forget_import_files() -> int:
    return ImportFile.objects.outdated().delete()[0]


@shared_task(ignore_result=True)
def forget_prior_values() -> int:
    """Delete the previous names stored by backfills that are too old to be undone; return how many batches changed."""
    idle = [RunStatus.DONE, RunStatus.PAUSED, RunStatus.UNDONE]
    old = BackfillBatch.objects.filter(clock.is_older("run__created_at", UNDO_FOR), run__status__in=idle)
    return old.exclude(changes=[]).update(changes=[])
