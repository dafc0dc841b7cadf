"""Register the admin pages of the sub-packages."""

from django.contrib import admin

from config import headings
from monitoring.alerts import admin as alerts
from monitoring.audit import users
from monitoring.rollout_control import admin as rollout

__all__ = ["alerts", "rollout", "users"]
headings.install()
# The dashboard shows unknown values in the same way.
admin.site.empty_value_display = "—"
