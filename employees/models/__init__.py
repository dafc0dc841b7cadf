from employees.import_export.stored_files import ImportFile
from employees.models.backfill import ONE_AT_A_TIME, OPEN, UNDO_FOR, BackfillBatch, BackfillRun, BatchStatus, RunStatus
from employees.models.employee import (
    CANONICAL_MAX_ID,
    CANONICAL_PHONE,
    PHONE_TAKEN,
    SEARCH_TEXT,
    Employee,
    EmployeeQuerySet,
    MaxIdClaim,
    Role,
    SearchText,
)  # fmt: skip
from employees.models.idempotency import IdempotentRequest
from employees.models.lookups import FIRST_RETRY, LONGEST_RETRY, JobStatus, MaxIdJob, UnresolvedName
from employees.models.university import (
    KPP_WITHOUT_INN,
    UNIVERSITY_NOT_FOUND,
    AmbiguousUniversity,
    Membership,
    University,
    UniversityQuerySet,
    validate_inn,
    validate_kpp,
    validate_visible,
)  # fmt: skip

__all__ = [
    "CANONICAL_MAX_ID", "CANONICAL_PHONE", "FIRST_RETRY", "KPP_WITHOUT_INN", "LONGEST_RETRY", "ONE_AT_A_TIME", "OPEN",
    "PHONE_TAKEN", "SEARCH_TEXT", "UNDO_FOR", "UNIVERSITY_NOT_FOUND", "AmbiguousUniversity", "BackfillBatch",
    "BackfillRun", "BatchStatus", "Employee", "EmployeeQuerySet", "IdempotentRequest", "ImportFile", "JobStatus",
    "MaxIdClaim", "MaxIdJob", "Membership", "Role", "RunStatus", "SearchText", "University", "UniversityQuerySet",
    "UnresolvedName", "validate_inn", "validate_kpp", "validate_visible",
]  # fmt: skip
