from __future__ import annotations

import json
from typing import Any, ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class CachedStatistic(models.Model):
    """A figure over whole tables, as it was last counted and how long that took (stats/cached_statistics)."""

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

    @staticmethod
    def as_kept(value: Any) -> Any:
        """Return a value as it would be read back."""
        return json.loads(json.dumps(value))


class Span(models.TextChoices):
    """How much time a count or a point of a chart stands for."""

    MINUTE = "minute", _("minute")
    HOUR = "hour", _("hour")
    SIX_HOURS = "6hours", _("six hours")
    DAY = "day", _("day")
    WEEK = "week", _("week")


class RollupDelta(models.Model):
    """What one statement changed in the counts of the webhook, written by triggers of the inbox until it is folded.

    ``bucket`` is the processing time's, None where nobody measured one.
    """

    at = models.DateTimeField()
    kind = models.CharField(max_length=12)
    update_type = models.CharField(max_length=40)
    reason = models.CharField(max_length=200)
    bucket = models.SmallIntegerField(null=True)
    n = models.BigIntegerField()
    extracted = models.BigIntegerField()
    stored = models.BigIntegerField()
    ms = models.FloatField()

    class Meta:
        db_table = "monitoring_trafficdelta"
        default_permissions = ()
        verbose_name = _("rollup delta")
        verbose_name_plural = _("rollup deltas")

    def __str__(self) -> str:
        return f"{self.kind} {self.n:+d}"


class Rollup(models.Model):
    """How many updates that came in one span of time (UTC) have which state by now; pruning takes none away.

    ``kind`` is a settled State, ``repeat``, or ``time``: those rows hold how many took a processing time, by bucket.
    """

    span = models.CharField(max_length=6, choices=Span)
    at = models.DateTimeField()
    kind = models.CharField(max_length=12)
    update_type = models.CharField(max_length=40)
    reason = models.CharField(max_length=200)
    bucket = models.SmallIntegerField()
    n = models.BigIntegerField()
    extracted = models.BigIntegerField()
    stored = models.BigIntegerField()
    ms = models.FloatField()

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
        return f"{self.span} {self.at:%F %T} {self.kind}"


class Snapshot(models.Model):
    """A number as it was in one hour or on one day (UTC), for the charts."""

    span = models.CharField(_("span"), max_length=6, choices=Span)
    at = models.DateTimeField(_("at"), help_text=_("the start of the hour or the day"))
    metric = models.CharField(_("metric"), max_length=60)
    value = models.FloatField(_("value"))

    class Meta:
        verbose_name = _("snapshot")
        verbose_name_plural = _("snapshots")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["span", "metric", "at"], name="monitoring_snapshot_once"),
        ]

    def __str__(self) -> str:
        return f"{self.metric} {self.at:%F %T}"


class Sample(models.Model):
    """What a growing counter stood at when a check looked: growth is measured from here."""

    name = models.CharField(_("name"), max_length=40)
    at = models.DateTimeField(_("at"), default=timezone.now)
    value = models.FloatField(_("value"))

    class Meta:
        ordering: ClassVar = ["-at"]
        verbose_name = _("sample")
        verbose_name_plural = _("samples")
        indexes: ClassVar = [models.Index(fields=["name", "-at"], name="monitoring_sample_of_name")]

    def __str__(self) -> str:
        return f"{self.name} {self.value:g}"
