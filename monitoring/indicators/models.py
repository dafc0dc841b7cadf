from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from config.lib import clock
from config.lib.messages import Message, parse_message

# The task worker measures every 30 seconds: four missing rounds are more than jitter.
OLD = timedelta(minutes=2)


class Level(models.TextChoices):
    """The level of a reading. The first four correspond to the exit codes 0 to 3 of Nagios plugins."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"
    ERROR = "error"


class IndicatorReading(models.Model):
    """A measurement of one indicator. A round measures all indicators together, with the same ``round_at``.

    ``value`` is in the indicator's base unit: shares are 0 to 1, sizes are in bytes, times are in milliseconds if the
    indicator's unit is ms, otherwise in seconds. ``message`` is a Message as JSON.
    """

    round_at = models.DateTimeField()
    # Earlier than ``round_at`` if the reading was copied from an earlier round, as happens to worker-only indicators.
    measured_at = models.DateTimeField()
    name = models.CharField(max_length=40)
    value = models.FloatField(null=True)
    n = models.BigIntegerField(null=True)
    level = models.CharField(max_length=8, choices=Level)
    warning_limit = models.FloatField(null=True)
    critical_limit = models.FloatField(null=True)
    data = models.JSONField(default=dict)
    message = models.JSONField()

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [
            # Its index serves both the readings of one round and the history of one indicator.
            models.UniqueConstraint(fields=["name", "round_at"], name="monitoring_reading_once_a_round"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.level}"

    @property
    def is_ok(self) -> bool:
        return self.level == Level.OK

    @property
    def is_broken(self) -> bool:
        """Return whether the value is beyond a limit; False if there is too little data or the measurement failed."""
        return self.level in (Level.WARNING, Level.CRITICAL)

    @property
    def sentence(self) -> Message:
        """Return the message, or the indicator's name if another release stored a message that cannot be read."""
        return parse_message(self.message) or Message(self.name)


@dataclass(frozen=True, slots=True)
class Round:
    """The readings of all indicators that were measured together, by indicator name."""

    at: datetime
    readings: Mapping[str, IndicatorReading]

    def __getitem__(self, name: str) -> IndicatorReading:
        return self.readings[name]

    @property
    def age(self) -> timedelta:
        return clock.distance(self.at)

    @property
    def is_old(self) -> bool:
        return self.age > OLD


class RoundTrip(models.Model):
    """The result of sending a synthetic update through the webhook, the inbox and its worker."""

    at = models.DateTimeField(_("time"), default=timezone.now, db_index=True)
    took_ms = models.FloatField(_("duration, ms"), null=True, help_text=_("empty if the round trip failed"))
    error = models.CharField(_("error"), max_length=200, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["-at"]
        verbose_name = _("synthetic round trip")
        verbose_name_plural = _("synthetic round trips")

    def __str__(self) -> str:
        return self.display_error or gettext("%(n)s ms") % {"n": f"{self.took_ms or 0:.0f}"}

    @property
    def display_error(self) -> str:
        """Return the error in the reader's language; it is stored in English."""
        return gettext(self.error) if self.error else ""
