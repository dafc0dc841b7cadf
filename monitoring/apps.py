from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class MonitoringConfig(AppConfig):
    name = "monitoring"
    verbose_name = _("monitoring")

    def ready(self) -> None:
        from monitoring import checks, titles  # noqa: F401, PLC0415 (checks registers itself)

        titles.use_words()
        # The app of the switches; its own name is no text that a catalogue could translate.
        apps.get_app_config("waffle").verbose_name = _("switches")
