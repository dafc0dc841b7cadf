"""Register the admin pages of the sub-packages."""

from django.contrib import admin

from config import headings
from monitoring.alerts import admin as alerts
from monitoring.audit import users
from monitoring.rollout_control import admin as flags
from monitoring.rollout_control import comparison_admin, signature_admin

__all__ = ["alerts", "comparison_admin", "flags", "signature_admin", "users"]
headings.install()
# As on the pages of the dashboard.
admin.site.empty_value_display = "—"
