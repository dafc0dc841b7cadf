from __future__ import annotations

import json
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from config.lib.messages import from_columns
from monitoring.alerts.models import Alert, Delivery, Sample
from monitoring.indicators.models import IndicatorReading, Level
from monitoring.rollout_control.checklist_titles import TITLES
from monitoring.rollout_control.gate_titles import GATES

__all__ = [
    "Alert",
    "CachedStatistic",
    "Delivery",
    "GateCheck",
    "IndicatorReading",
    "Level",
    "RoundTrip",
    "Sample",
    "Signature",
    "Verdict",
]  # fmt: skip

MESSAGE_LENGTH = 500


class Verdict(models.TextChoices):
    """What a gate says. Only a pass lets a step through; no data is inconclusive, never green."""

    PASS = "PASS", _("pass")
    FAIL = "FAIL", _("fail")
    INCONCLUSIVE = "INCONCLUSIVE", _("inconclusive")
    ERROR = "ERROR", _("error")


class GateCheck(models.Model):
    """What one gate said at one moment: three in a row are asked for, and some compare with yesterday.

    ``message`` is in the site's language; ``text`` is for people.
    """

    at = models.DateTimeField(_("at"), default=timezone.now)
    phase = models.PositiveSmallIntegerField(_("phase"))
    gate = models.CharField(_("gate"), max_length=30, choices=[*GATES.items()])
    verdict = models.CharField(_("verdict"), max_length=12, choices=Verdict)
    message = models.CharField(_("message"), max_length=MESSAGE_LENGTH)
    sentence = models.JSONField(null=True, editable=False)
    value = models.FloatField(_("value"), null=True)

    class Meta:
        ordering: ClassVar = ["-at", "-pk"]
        indexes: ClassVar = [models.Index(fields=["gate", "phase", "-at"], name="monitoring_gatecheck_latest")]
        verbose_name = _("gate check")
        verbose_name_plural = _("gate checks")

    def __str__(self) -> str:
        told = _("Phase %(n)d, %(title)s") % {"n": self.phase, "title": self.get_gate_display()}
        return f"{told}: {self.get_verdict_display()}"

    @property
    def text(self) -> str:
        """Return the message in the language that is active."""
        return str(from_columns(self.message, self.sentence))


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


class SignatureQuerySet(models.QuerySet["Signature"]):
    def in_force(self) -> SignatureQuerySet:
        return self.filter(expires_at__gt=timezone.now())


class Signature(models.Model):
    """Somebody answers for an item of the guide's checklist that no machine can see, until it expires."""

    item = models.CharField(_("item"), max_length=50)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("by"))
    note = models.CharField(_("note"), max_length=500)
    signed_at = models.DateTimeField(_("signed at"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires at"))

    objects: ClassVar[SignatureQuerySet] = SignatureQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering: ClassVar = ["-signed_at"]
        permissions: ClassVar = [
            ("view_audit", _("Can see the audit trail")),
            ("export_employees", _("Can export the employees")),
        ]
        verbose_name = _("signature")
        verbose_name_plural = _("signatures")
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(expires_at__gt=models.F("signed_at")), name="signature_expires_later"),
            models.CheckConstraint(condition=~Q(note=""), name="signature_has_note"),
        ]

    def __str__(self) -> str:
        return str(TITLES.get(self.item, self.item))


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
