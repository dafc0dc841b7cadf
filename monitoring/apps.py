from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MonitoringConfig(AppConfig):
    name = "monitoring"
    verbose_name = _("monitoring")

    def ready(self) -> None:
        from monitoring import checks, steering, titles  # noqa: F401, PLC0415 (checks registers itself)
        from profiles.rollout import changes  # noqa: PLC0415 (the registry of models is complete only now)

        changes.register_gates(steering.judge_raise)
        changes.emergency_stopped.connect(steering.pause_backfill)
        titles.use_words()
