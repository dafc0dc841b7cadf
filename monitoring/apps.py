from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class MonitoringConfig(AppConfig):
    name = "monitoring"
    verbose_name = _("monitoring")

    def ready(self) -> None:
        from config.postgres import checks as database_checks  # noqa: F401, PLC0415 (importing registers the check)
        from monitoring import checks  # noqa: F401, PLC0415 (as above)
        from monitoring.audit import admin_labels  # noqa: PLC0415 (models can be imported only from here on)
        from monitoring.rollout_control import controller, gates  # noqa: PLC0415 (as above)
        from profiles.rollout import changes  # noqa: PLC0415 (as above)

        changes.register_gates(gates.evaluate_raise)
        changes.emergency_stopped.connect(controller.pause_backfill)
        admin_labels.show_titles()
        # Waffle is the app of the switches and samples. It has no translatable name of its own.
        apps.get_app_config("waffle").verbose_name = _("flags and switches")
