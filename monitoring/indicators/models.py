from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from config.lib.messages import Message, readable

# Worker rounds come every 30 seconds: four of them missing is no jitter.
OLD = timedelta(minutes=2)


class Level(models.TextChoices):
    """What a reading means, in the order of the numbers that monitoring plugins report: 0 is OK."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"
    ERROR = "error"


class IndicatorReading(models.Model):
    """One indicator as one round measured it. All readings of a round have its ``round_at``.

    ``value`` is in the indicator's base unit: shares 0 to 1, times in seconds but for those in ms, sizes in bytes.
    ``message`` is a Sentence as JSON.
    """

    round_at = models.DateTimeField()
    # Earlier than the round where only the worker measures it, and somebody else took the round.
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
            # One index for the readings of a round, asked for by their names, and for the series of one indicator.
            models.UniqueConstraint(fields=["name", "round_at"], name="monitoring_reading_once_a_round"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.level}"

    @property
    def is_ok(self) -> bool:
        return self.level == Level.OK

    @property
    def is_broken(self) -> bool:
        """Return whether a limit is broken; too little data and a failed measurement break none."""
        return self.level in (Level.WARNING, Level.CRITICAL)

    @property
    def sentence(self) -> Message:
        """Return the message; the name alone for a message of another release that cannot be read."""
        return readable(self.message) or Message(self.name)


@dataclass(frozen=True, slots=True)
class Round:
    """The readings of one moment, by name."""

    at: datetime
    readings: Mapping[str, IndicatorReading]

    def __getitem__(self, name: str) -> IndicatorReading:
        return self.readings[name]

    @property
    def age(self) -> timedelta:
        """Return how old it is; never negative, whatever another machine's clock says."""
        return abs(timezone.now() - self.at)

    @property
    def is_old(self) -> bool:
        return self.age > OLD


class RoundTrip(models.Model):
    """A synthetic update sent through the webhook, the inbox and the worker, and how long it took."""

    at = models.DateTimeField(_("at"), default=timezone.now, db_index=True)
    took_ms = models.FloatField(_("took, ms"), null=True, help_text=_("empty when it did not come out"))
    error = models.CharField(_("error"), max_length=200, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["-at"]
        verbose_name = _("synthetic round trip")
        verbose_name_plural = _("synthetic round trips")

    def __str__(self) -> str:
        return self.display_error or gettext("%(n)s ms") % {"n": f"{self.took_ms or 0:.0f}"}

    @property
    def display_error(self) -> str:
        """Return the error in the reader's language; it is kept in English, whatever the worker's is."""
        return gettext(self.error) if self.error else ""
