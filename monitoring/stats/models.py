import json
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


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
        return max(0.0, round((timezone.now() - self.at).total_seconds(), 1))

    def is_due(self, *, after: timedelta, rest: int) -> bool:
        """Return whether the value is older than both ``after`` and ``rest`` times the duration of its computation."""
        return timezone.now() - self.at >= max(after, timedelta(milliseconds=rest * self.took_ms))

    @classmethod
    def store(cls, name: str, compute: Callable[[], Any]) -> Self:
        """Compute a statistic, and store it with the duration of the computation; return it as if read from its row."""
        at, started = timezone.now(), time.perf_counter()
        value = compute()
        fields = {"value": value, "at": at, "took_ms": (time.perf_counter() - started) * 1000}
        cls.objects.update_or_create(name=name, defaults=fields)
        return cls(name=name, **fields | {"value": json.loads(json.dumps(value))})

    @classmethod
    def refresh_due(cls, computations: Mapping[str, Callable[[], Any]], *, after: timedelta, rest: int) -> list[str]:
        """Compute and store the statistics that are missing or due (see ``is_due``); return their names."""
        rows = cls.objects.in_bulk(computations)
        due = [name for name in computations if name not in rows or rows[name].is_due(after=after, rest=rest)]
        for name in due:
            cls.store(name, computations[name])
        return due


class Span(models.TextChoices):
    """The length of time that a rollup covers, or the interval between two points of a chart."""

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
    """A change in the counts of updates, written by the inbox's triggers; ``bucket`` is None without a time."""

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

    ``kind`` is the final State of the updates, ``repeat`` for duplicate deliveries, or ``time`` for a bucket in the
    histogram of processing times. When the state of an update changes, so do the counts.
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
        return f"{self.span} {self.at:%F %T} {self.kind}"


class Snapshot(models.Model):
    """A point on a chart: the value of a metric in the hour or on the day (UTC) that starts at ``at``."""

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
    """A record that a periodic task has run: ``name`` identifies the task (see monitoring.alerts.engine)."""

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
