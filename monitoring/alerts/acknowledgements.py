"""Acknowledge and mute alerts."""

from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone
from django.utils.translation import gettext as _

from monitoring.alerts.models import Alert


class AcknowledgementRefused(Exception):
    """Raised for an action that is not possible; its text is a message for the user."""


def acknowledge(alert: Alert, user: AbstractBaseUser) -> None:
    """Record who takes care of the alert; raise AcknowledgementRefused unless it is open and unacknowledged."""
    if not alert.is_open:
        raise AcknowledgementRefused(_("The alert is already resolved."))
    open_alert = Alert.objects.filter(pk=alert.pk, acknowledged_at=None)
    count = open_alert.update(acknowledged_by=user, acknowledged_at=timezone.now())
    alert.refresh_from_db()
    if not count:
        raise AcknowledgementRefused(_("The alert is already acknowledged."))


def mute(alert: Alert, user: AbstractBaseUser, *, until: datetime, reason: str) -> None:
    """Mute notifications for the alert's kind and key until the given time, even if it resolves and fires again."""
    if until <= timezone.now():
        raise AcknowledgementRefused(_("The mute must end in the future."))
    if not reason.strip():
        raise AcknowledgementRefused(_("Give a reason."))
    _set_mute(alert, muted_by=user, muted_until=until, mute_reason=reason.strip()[:500])


def unmute(alert: Alert) -> None:
    if not alert.is_muted:
        raise AcknowledgementRefused(_("The alert is not muted."))
    _set_mute(alert, muted_by=None, muted_until=None, mute_reason="")


def _set_mute(alert: Alert, **fields: object) -> None:
    Alert.objects.filter(pk=alert.pk).update(**fields)
    alert.refresh_from_db()
