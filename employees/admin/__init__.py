from employees.admin.access import admin_scope
from employees.admin.backfill import BackfillRunAdmin
from employees.admin.employees import EmployeeAdmin
from employees.admin.jobs import MaxIdJobAdmin, MembershipAdmin, UnresolvedNameAdmin
from employees.admin.universities import UniversityAdmin

__all__ = [
    "BackfillRunAdmin",
    "EmployeeAdmin",
    "MaxIdJobAdmin",
    "MembershipAdmin",
    "UniversityAdmin",
    "UnresolvedNameAdmin",
    "admin_scope",
]
