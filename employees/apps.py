from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class EmployeesConfig(AppConfig):
    name = "employees"
    verbose_name = _("directory")

    def ready(self) -> None:
        from employees import checks, erasure  # noqa: F401, PLC0415 (importing them registers them)
