"""Search the direct API for missing MAX IDs of employees, a hundred phones per request.

The MAX IDs found by a request and the position of the job are stored in one transaction.
"""

import logging
import time
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from config.lib import clock
from employees.history.models import record_versions
from employees.models import Employee, JobStatus, MaxIdJob
from profiles.max_api.client import MaxError
from profiles.max_api.users import DirectUser, fetch_users

PHONES_PER_REQUEST = 100
# About four hours of retries, a minute apart.
MAX_OUTAGES = 240
# Longer than any pause and any lease.
LONGEST_PAUSE = timedelta(minutes=15)
logger = logging.getLogger(__name__)


def work_on(until: float) -> None:
    """Continue the open job until it ends, the API fails, or the monotonic time ``until`` is reached."""
    while time.monotonic() < until and _search_next():
        pass


def _search_next() -> bool:
    """Look up the next hundred phones, outside any transaction; return whether there may be more phones."""
    job = _lease()
    if job is None:
        return False
    batch = list(Employee.objects.filter(max_id=None, pk__gt=job.last_id).order_by("pk")[:PHONES_PER_REQUEST])
    try:
        users = fetch_users([employee.phone for employee in batch]) if batch else {}
    except MaxError as error:
        logger.warning("search for MAX ids held up", extra={"event": "max_id_job_held", "error": str(error)})
        job.outages += 1
        job.next_try_at = timezone.now() + min(timedelta(seconds=5 * job.outages), timedelta(minutes=1))
        if job.outages >= MAX_OUTAGES or not settings.MAX_BOT_TOKEN:
            # Give up, so that a new job can be started.
            job.failed = max(job.total - job.done, job.failed)
            job.finish(JobStatus.FAILED)
        job.save()
        return False
    return _store(job, batch, users)


@transaction.atomic
def _lease() -> MaxIdJob | None:
    """Lease the open job to this worker, for longer than a request may take; return None if no job is due.

    If this worker crashes, another worker continues the job when the lease has expired.
    """
    due = MaxIdJob.objects.filter(clock.is_due("next_try_at", LONGEST_PAUSE), finished_at=None)
    job = due.select_for_update(skip_locked=True).first()
    if job is not None:
        job.status, job.next_try_at = JobStatus.RUNNING, timezone.now() + 2 * settings.MAX_API_TIMEOUT
        job.save(update_fields=["status", "next_try_at"])
    return job


@transaction.atomic
def _store(leased: MaxIdJob, batch: list[Employee], users: dict[str, DirectUser]) -> bool:
    """Store the MAX IDs that were found and the position of the job; return whether there may be more phones.

    Store nothing if another worker has already continued the job.
    """
    job = MaxIdJob.objects.select_for_update().get(pk=leased.pk)
    if job.last_id != leased.last_id or job.finished_at:
        return False
    now = timezone.now()
    job.outages, job.next_try_at = 0, now
    updated = []
    for employee in batch:
        if user := users.get(employee.phone):
            # No row matches if someone has entered a MAX id in the meantime.
            row = Employee.objects.filter(pk=employee.pk, max_id=None)
            if row.update(max_id=user.user_id, max_id_updated_at=now, updated_at=now):
                employee.max_id, employee.max_id_updated_at, employee.updated_at = user.user_id, now, now
                updated.append(employee)
    record_versions(updated)
    job.done += len(updated)
    job.failed += len(batch) - len(updated)
    if batch:
        job.last_id = batch[-1].pk
    else:
        # Employees may have been added or deleted since the job was counted.
        job.total = job.done + job.failed
        job.finish(JobStatus.DONE)
    job.save()
    return bool(batch)
