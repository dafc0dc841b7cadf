from employees.accounts import admin_scope
from employees.admin import backfill, directory

__all__ = ["admin_scope", "backfill", "directory"]
