"""Apps of other packages whose own configuration has a name in English alone."""

from axes.apps import AppConfig as AxesConfig
from django.utils.translation import gettext_lazy as _
from waffle.apps import WaffleConfig


class LogInGuardConfig(AxesConfig):
    verbose_name = _("log-in guard")


class SwitchesConfig(WaffleConfig):
    verbose_name = _("switches")  # type: ignore[assignment]
