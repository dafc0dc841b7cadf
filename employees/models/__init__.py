from employees.models.backfill import BackfillBatch, BackfillRun, BatchStatus, RunStatus
from employees.models.directory import Employee, EmployeeQuerySet, Membership, Role, University
from employees.models.idempotency import IdempotentRequest
from employees.models.jobs import JobStatus, MaxIdJob, UnresolvedName

__all__ = [
    "BackfillBatch",
    "BackfillRun",
    "BatchStatus",
    "Employee",
    "EmployeeQuerySet",
    "IdempotentRequest",
    "JobStatus",
    "MaxIdJob",
    "Membership",
    "Role",
    "RunStatus",
    "University",
    "UnresolvedName",
]
