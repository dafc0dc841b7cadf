"""The search for missing MAX ids: a hundred phones a call, each call's finds stored with the job's progress."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from employees.history.models import keep_versions
from employees.models import Employee, JobStatus, MaxIdJob
from profiles.max_api.client import MaxError
from profiles.max_api.users import DirectUser, fetch_users

PHONES_A_CALL = 100
# Some hours of trying, a minute apart at most.
MOST_OUTAGES = 240
logger = logging.getLogger(__name__)


def work_on(until: float) -> int:
    """Go on with the open job until it ends, the API fails or ``until`` (monotonic) is past; return the calls made."""
    calls = 0
    while time.monotonic() < until and _next_call():
        calls += 1
    return calls


def _next_call() -> bool:
    """Ask for the next hundred, outside of any transaction, and store what is found."""
    job = _lease()
    if job is None:
        return False
    batch = list(Employee.objects.filter(max_id=None, pk__gt=job.last_id).order_by("pk")[:PHONES_A_CALL])
    try:
        found = fetch_users([employee.phone for employee in batch]) if batch else {}
    except MaxError as error:
        logger.warning("search for MAX ids held up", extra={"event": "max_id_job_held", "error": str(error)})
        _hold(job)
        return False
    return _store(job, batch, found)


@transaction.atomic
def _lease() -> MaxIdJob | None:
    """Take the open job for as long as a call may last; who dies with it leaves it to the next one then."""
    due = MaxIdJob.objects.filter(finished_at=None, next_try_at__lte=timezone.now())
    job = due.select_for_update(skip_locked=True).first()
    if job is not None:
        job.status, job.next_try_at = JobStatus.RUNNING, timezone.now() + 2 * settings.MAX_API_TIMEOUT
        job.save(update_fields=["status", "next_try_at"])
    return job


@transaction.atomic
def _store(leased: MaxIdJob, batch: list[Employee], found: dict[str, DirectUser]) -> bool:
    """Store finds and progress together, unless another worker has overtaken us; tell whether there is more to do."""
    job = MaxIdJob.objects.select_for_update().get(pk=leased.pk)
    if job.last_id != leased.last_id or job.finished_at:
        return False
    job.outages, job.next_try_at = 0, timezone.now()
    stored = [employee for employee in batch if _give(employee, found.get(employee.phone))]
    keep_versions(stored)
    job.done += len(stored)
    job.failed += len(batch) - len(stored)
    if batch:
        job.last_id = batch[-1].pk
    else:
        # Rows that came or went since the job was counted: the progress ends at its total all the same.
        job.total = job.done + job.failed
        job.finish(JobStatus.DONE)
    job.save()
    return bool(batch)


def _give(employee: Employee, user: DirectUser | None) -> int:
    """Give the employee the MAX id, unless somebody else has meanwhile."""
    if user is None:
        return 0
    now = timezone.now()
    employee.max_id, employee.max_id_updated_at, employee.updated_at = user.user_id, now, now
    return Employee.objects.filter(pk=employee.pk, max_id=None).update(
        max_id=user.user_id, max_id_updated_at=now, updated_at=now
    )


def _hold(job: MaxIdJob) -> None:
    """Try again later; after many tries the job ends, so that another one may be asked for."""
    job.outages += 1
    job.next_try_at = timezone.now() + min(timedelta(seconds=5 * job.outages), timedelta(minutes=1))
    if job.outages >= MOST_OUTAGES or not settings.MAX_BOT_TOKEN:
        job.failed = max(job.total - job.done, job.failed)
        job.finish(JobStatus.FAILED)
    job.save()
