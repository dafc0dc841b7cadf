from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class MonitoringConfig(AppConfig):
    name = "monitoring"
    verbose_name = _("monitoring")

    def ready(self) -> None:
        # The registry of models is complete only now.
        from monitoring import checks  # noqa: F401, PLC0415 (it registers itself)
        from monitoring.audit import admin_labels  # noqa: PLC0415
        from monitoring.rollout_control import control  # noqa: PLC0415
        from profiles.rollout import changes  # noqa: PLC0415

        changes.register_gates(control.judge_raise)
        changes.emergency_stopped.connect(control.pause_backfill)
        admin_labels.show_titles()
        # The app's own name is not translatable.
        apps.get_app_config("waffle").verbose_name = _("switches")
