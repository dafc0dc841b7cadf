from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class WebhooksConfig(AppConfig):
    name = "webhooks"
    verbose_name = _("webhook inbox")

    def ready(self) -> None:
        from webhooks import checks, erasure  # noqa: F401, PLC0415 (importing them registers them)
