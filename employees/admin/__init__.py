from employees.admin.access import admin_scope
from employees.admin.backfill import BackfillRunAdmin
from employees.admin.directory import EmployeeAdmin, UniversityAdmin
from employees.admin.jobs import MaxIdJobAdmin, MembershipAdmin, UnresolvedNameAdmin

__all__ = [
    "BackfillRunAdmin",
    "EmployeeAdmin",
    "MaxIdJobAdmin",
    "MembershipAdmin",
    "UniversityAdmin",
    "UnresolvedNameAdmin",
    "admin_scope",
]
