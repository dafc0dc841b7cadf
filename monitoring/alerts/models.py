from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from config.lib.messages import UNREADABLE, Message
from monitoring.alerts.kinds import CHECKS, SENTENCES, Kind, Severity

RECENT = timedelta(days=30)
# These alerts must not hold phase 4: the first would make a held rollout hold itself, the second calls for phase 4.
_NOT_HOLDING = (Kind.ROLLOUT_HELD, Kind.DIRECT_API_MISSING)


class AcknowledgementRefused(Exception):
    """Raised if an action on an alert is not possible; its text is a message for the user."""


class AlertQuerySet(models.QuerySet["Alert"]):
    def open(self) -> Self:
        return self.filter(resolved_at=None)

    def muted(self) -> Self:
        return self.filter(muted_until__gt=timezone.now())

    def holding(self, *, detected_since: datetime) -> Self:
        """Return the alerts that keep phase 4 from advancing: open, not muted, and not of a kind in _NOT_HOLDING.

        Leave out alerts whose problem was last detected before ``detected_since``: these alerts are only waiting
        to resolve.
        """
        detected = self.open().filter(seen_at__gt=detected_since)
        return detected.exclude(muted_until__gt=timezone.now()).exclude(kind__in=_NOT_HOLDING)

    def for_listing(self) -> Self:
        """Return the open alerts, then the alerts resolved within RECENT; in both groups, the newest come first."""
        recent = self.filter(Q(resolved_at=None) | Q(resolved_at__gt=timezone.now() - RECENT))
        order = F("resolved_at").desc(nulls_first=True)
        return recent.select_related("acknowledged_by", "muted_by").order_by(order, "-fired_at", "-pk")


class Alert(models.Model):
    """A problem, from its detection to its end. ``message`` is in English, ``text`` in the reader's language."""

    kind = models.CharField(_("kind"), max_length=40, choices=Kind)
    key = models.CharField(_("subject"), max_length=100, blank=True, default="")
    severity = models.CharField(_("severity"), max_length=10, choices=Severity)
    message = models.CharField(_("message"), max_length=500)
    words = models.JSONField(_("message parameters"), default=dict)
    data = models.JSONField(_("values"), default=dict)
    fired_at = models.DateTimeField(_("fired at"), default=timezone.now)
    seen_at = models.DateTimeField(_("last seen at"), default=timezone.now)
    clear_since = models.DateTimeField(_("not seen since"), null=True, blank=True)
    resolved_at = models.DateTimeField(_("resolved at"), null=True, blank=True)
    announced = models.CharField(
        _("severity sent"), max_length=10, choices=Severity, blank=True, default="", help_text=_("empty: not yet")
    )
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("acknowledged by"),
    )
    acknowledged_at = models.DateTimeField(_("acknowledged at"), null=True, blank=True)
    muted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("muted by")
    )
    muted_until = models.DateTimeField(_("muted until"), null=True, blank=True)
    mute_reason = models.CharField(_("reason for muting"), max_length=500, blank=True, default="")

    objects: ClassVar[AlertQuerySet] = AlertQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering: ClassVar = ["-fired_at", "-pk"]
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        indexes: ClassVar = [
            models.Index(fields=["kind", "key", "-fired_at"], name="monitoring_alert_of_kind"),
            models.Index(fields=["-resolved_at"], name="monitoring_alert_resolved_at"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "key"], name="monitoring_alert_one_open", condition=Q(resolved_at=None)
            ),
            models.CheckConstraint(
                condition=Q(muted_until=None) | ~Q(mute_reason=""), name="monitoring_alert_mute_has_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.key}".strip()

    @property
    def is_open(self) -> bool:
        return self.resolved_at is None

    @property
    def is_muted(self) -> bool:
        return self.muted_until is not None and self.muted_until > timezone.now()

    @property
    def text(self) -> str:
        """Return the message in the active language."""
        return str(self.sentence)

    @property
    def sentence(self) -> Message:
        """Return the message; if another release stored parameters that do not fit, return the stored English text."""
        params = dict(self.words)
        try:
            messages = {name: Message.from_json(stored) for name, stored in params.pop(SENTENCES, {}).items()}
            message = Message(CHECKS[Kind(self.kind)].text, params | messages)
            str(message)
        except UNREADABLE:
            return Message(self.message.replace("%", "%%"))
        return message

    @property
    def dashboard_url(self) -> str:
        """Return the URL of the alert's page, built without reverse(): a task must not import the admin."""
        return f"{settings.SITE_URL}/admin/monitoring/alert/{self.pk}/change/"

    @property
    def runbook_url(self) -> str:
        """Return the URL of the alert's runbook section; without RUNBOOK_URL, that of the steps on the alert's page."""
        return f"{settings.RUNBOOK_URL}#{self.kind}" if settings.RUNBOOK_URL else f"{self.dashboard_url}#steps"

    def acknowledge(self, user: AbstractBaseUser) -> None:
        """Record that the user takes care of the alert.

        Raise AcknowledgementRefused if the alert is resolved or already acknowledged.
        """
        if not self.is_open:
            raise AcknowledgementRefused(gettext("The alert is already resolved."))
        unacknowledged = Alert.objects.filter(pk=self.pk, acknowledged_at=None)
        count = unacknowledged.update(acknowledged_by=user, acknowledged_at=timezone.now())
        self.refresh_from_db()
        if not count:
            raise AcknowledgementRefused(gettext("The alert is already acknowledged."))

    def mute(self, user: AbstractBaseUser, *, until: datetime, reason: str) -> None:
        """Mute notifications for the alert's kind and key until the given time, even after the alert has resolved."""
        if until <= timezone.now():
            raise AcknowledgementRefused(gettext("Choose an end time in the future."))
        if not reason.strip():
            raise AcknowledgementRefused(gettext("Give a reason."))
        self.muted_by, self.muted_until, self.mute_reason = user, until, reason.strip()[:500]  # type: ignore[assignment]
        self.save(update_fields=["muted_by", "muted_until", "mute_reason"])

    def unmute(self) -> None:
        if not self.is_muted:
            raise AcknowledgementRefused(gettext("The alert is not muted."))
        self.muted_by, self.muted_until, self.mute_reason = None, None, ""
        self.save(update_fields=["muted_by", "muted_until", "mute_reason"])

    def as_json(self) -> dict[str, Any]:
        """Return the payload (docs/reference/alerts.md); a resolved alert also has ``status`` and ``fired_at``."""
        payload = {"alert_type": self.kind, "severity": self.severity, "message": self.message, **self.data}
        payload |= {"runbook_url": self.runbook_url, "dashboard_url": self.dashboard_url}
        if self.resolved_at is None:
            return payload | {"timestamp": _moment(self.fired_at)}
        return payload | {
            "status": "resolved",
            "fired_at": _moment(self.fired_at),
            "timestamp": _moment(self.resolved_at),
        }


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


class Channel(models.TextChoices):
    WEBHOOK = "webhook", _("webhook")
    SLACK = "slack", _("Slack")
    EMAIL = "email", _("e-mail")


class DeliveryState(models.TextChoices):
    WAITING = "waiting", _("waiting")
    SENT = "sent", _("sent")
    FAILED = "failed", _("not delivered")


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def waiting(self) -> Self:
        """Return the deliveries that wait to be sent, except those of open alerts that are muted."""
        is_held = Q(alert__muted_until__gt=timezone.now(), alert__resolved_at=None)
        return self.filter(state=DeliveryState.WAITING).exclude(is_held)


class Delivery(models.Model):
    """A notification for one channel, stored in the transaction that changes the alert and retried until it is sent."""

    class Event(models.TextChoices):
        FIRING = "firing", _("firing")
        ESCALATED = "escalated", _("became critical")
        RESOLVED = "resolved", _("resolved")

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="deliveries", verbose_name=_("alert"))
    channel = models.CharField(_("channel"), max_length=10, choices=Channel)
    event = models.CharField(_("event"), max_length=10, choices=Event)
    payload = models.JSONField(_("payload"))
    state = models.CharField(_("state"), max_length=10, choices=DeliveryState, default=DeliveryState.WAITING)
    tries = models.PositiveIntegerField(_("failed attempts"), default=0)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    next_try_at = models.DateTimeField(_("next try at"), default=timezone.now)
    sent_at = models.DateTimeField(_("sent at"), null=True)
    error = models.CharField(_("error"), max_length=200, blank=True, default="")

    objects: ClassVar[DeliveryQuerySet] = DeliveryQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering: ClassVar = ["pk"]
        verbose_name = _("alert delivery")
        verbose_name_plural = _("alert deliveries")
        indexes: ClassVar = [
            models.Index(fields=["channel", "id"], name="monitoring_delivery_waiting", condition=Q(state="waiting"))
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["alert", "channel", "event"], name="monitoring_delivery_once")
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.event}"
