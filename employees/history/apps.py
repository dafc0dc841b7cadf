from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class HistoryConfig(AppConfig):
    """Apart from the directory's own migrations: their way back must not drop what was recorded."""

    name = "employees.history"
    label = "employee_history"
    verbose_name = _("History of the directory")
    default_auto_field = "django.db.models.BigAutoField"
