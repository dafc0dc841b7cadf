from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CredentialsConfig(AppConfig):
    """A separate app, so that rolling back the directory's migrations logs nobody out."""

    name = "employees.credentials"
    label = "credentials"
    verbose_name = _("API access")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from employees.credentials import events  # noqa: F401, PLC0415 (connects its signal receivers)
