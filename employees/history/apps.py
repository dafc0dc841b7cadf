from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class HistoryConfig(AppConfig):
    """A separate app, so that rolling back the directory's migrations keeps the history."""

    name = "employees.history"
    label = "employee_history"
    verbose_name = _("History of the directory")
    default_auto_field = "django.db.models.BigAutoField"
