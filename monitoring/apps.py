from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class MonitoringConfig(AppConfig):
    name = "monitoring"
    verbose_name = _("monitoring")

    def ready(self) -> None:
        from monitoring import checks  # noqa: F401, PLC0415 (checks registers itself)
        from monitoring.audit import admin_labels  # noqa: PLC0415 (checks registers itself)
        from monitoring.rollout_control import controller, gates  # noqa: PLC0415 (checks registers itself)
        from profiles.rollout import changes  # noqa: PLC0415 (the registry of models is complete only now)

        changes.register_gates(gates.evaluate_raise)
        changes.emergency_stopped.connect(controller.pause_backfill)
        admin_labels.show_titles()
        # The app of the switches; its own name is no text that a catalogue could translate.
        apps.get_app_config("waffle").verbose_name = _("switches")
