from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from config.lib import clock, times


class CachedStatistic(models.Model):
    """A statistic that is expensive to compute: its last value, when it was computed, and how long that took."""

    name = models.CharField(max_length=30, primary_key=True)
    value = models.JSONField()
    at = models.DateTimeField()
    took_ms = models.FloatField()

    class Meta:
        db_table = "monitoring_keptfigure"
        default_permissions = ()
        permissions: ClassVar = [
            ("view_screens", _("Can see the monitoring screens")),
            ("look_up_person", _("Can look a person up")),
        ]
        verbose_name = _("cached statistic")
        verbose_name_plural = _("cached statistics")

    def __str__(self) -> str:
        return self.name

    @property
    def age_seconds(self) -> float:
        return round(clock.age(self.at).total_seconds(), 1)


class Span(models.TextChoices):
    """The length of time that a rollup covers, or the distance between two points of a chart."""

    MINUTE = "minute", _("minute")
    HOUR = "hour", _("hour")
    SIX_HOURS = "6hours", _("six hours")
    DAY = "day", _("day")
    WEEK = "week", _("week")


class _Counts(models.Model):
    at = models.DateTimeField()
    kind = models.CharField(max_length=12)
    update_type = models.CharField(max_length=40)
    reason = models.CharField(max_length=200)
    n = models.BigIntegerField()
    extracted = models.BigIntegerField()
    stored = models.BigIntegerField()
    ms = models.FloatField()

    class Meta:
        abstract = True


class RollupDelta(_Counts):
    """A change in update counts, written by triggers on the inbox.

    ``bucket`` is the histogram bucket of the processing time; None if the update has no processing time.
    """

    bucket = models.SmallIntegerField(null=True)

    class Meta:
        db_table = "monitoring_trafficdelta"
        default_permissions = ()
        verbose_name = _("rollup delta")
        verbose_name_plural = _("rollup deltas")

    def __str__(self) -> str:
        return f"{self.kind} {self.n:+d}"


class Rollup(_Counts):
    """The number of updates received in the span (UTC) that starts at ``at``; pruning the inbox does not change it.

    ``kind`` is the State of processed updates, ``repeat`` for duplicate deliveries, or ``time`` for a bucket in the
    histogram of processing times. If the state of an update changes again later, the counts are corrected.
    """

    span = models.CharField(max_length=6, choices=Span)
    bucket = models.SmallIntegerField()

    class Meta:
        db_table = "monitoring_traffic"
        default_permissions = ()
        verbose_name = _("rollup")
        verbose_name_plural = _("rollups")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["span", "at", "kind", "update_type", "reason", "bucket"], name="monitoring_traffic_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.span} {times.stamp(self.at)} {self.kind}"


class Sample(models.Model):
    """A record that a periodic task has run: ``name`` identifies the task (see monitoring.alerts.engine)."""

    name = models.CharField(_("name"), max_length=40)
    at = models.DateTimeField(_("time"), default=timezone.now)
    value = models.FloatField(_("value"))

    class Meta:
        ordering: ClassVar = ["-at"]
        verbose_name = _("sample")
        verbose_name_plural = _("samples")
        indexes: ClassVar = [models.Index(fields=["name", "-at"], name="monitoring_sample_of_name")]

    def __str__(self) -> str:
        return f"{self.name} {self.value:g}"
