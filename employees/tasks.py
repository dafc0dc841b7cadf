"""Long work in slices of seconds: one worker serves all of it, and a killed slice loses nothing."""

import time

from celery import shared_task

from employees import max_id_search, naming
from employees.backfill import batches
from employees.models import IdempotentRequest

SLICE_SECONDS = 4.0


@shared_task(ignore_result=True)
def work_on_jobs() -> None:
    until = time.monotonic() + SLICE_SECONDS
    max_id_search.work_on(until)
    batches.work_on_open_run(until)


@shared_task(ignore_result=True)
def retry_unresolved() -> int:
    return naming.retry_unresolved(time.monotonic() + SLICE_SECONDS)


@shared_task(ignore_result=True)
def forget_idempotent_requests() -> int:
    return IdempotentRequest.objects.outdated().delete()[0]


@shared_task(ignore_result=True)
def forget_prior_values() -> int:
    return batches.forget_prior_values()
