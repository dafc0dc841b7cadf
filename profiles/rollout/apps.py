from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RolloutConfig(AppConfig):
    name = "profiles.rollout"
    label = "rollout"
    verbose_name = _("rollout")

    def ready(self) -> None:
        from profiles.rollout import changes, checks  # noqa: F401, PLC0415 (they register themselves)
