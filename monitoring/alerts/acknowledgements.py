"""What people answer to an alert: that they know of it, or that they do not want to hear of it for a while."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from monitoring.alerts.models import Alert


class AcknowledgementRefused(Exception):
    """The answer makes no sense; the text says why, for people."""


def acknowledge(alert: Alert, user: AbstractBaseUser) -> None:
    """Note who takes care of an open alert; the first one stays."""
    if not alert.is_open:
        raise AcknowledgementRefused(_("The alert is resolved: there is nothing to acknowledge"))
    unanswered = Alert.objects.filter(pk=alert.pk, acknowledged_at=None)
    count = unanswered.update(acknowledged_by=user, acknowledged_at=timezone.now())
    alert.refresh_from_db()
    if not count:
        raise AcknowledgementRefused(_("The alert is acknowledged already"))


def mute(alert: Alert, user: AbstractBaseUser, *, until: datetime, reason: str) -> None:
    """Deliver nothing of this kind and key until a moment, also if it resolves and fires again meanwhile."""
    if until <= timezone.now():
        raise AcknowledgementRefused(_("An alert is muted until a moment that is to come"))
    if not reason.strip():
        raise AcknowledgementRefused(_("Say why it is muted"))
    _set_mute(alert, muted_by=user, muted_until=until, mute_reason=reason.strip()[:500])


def unmute(alert: Alert) -> None:
    if not alert.is_muted:
        raise AcknowledgementRefused(_("The alert is not muted"))
    _set_mute(alert, muted_by=None, muted_until=None, mute_reason="")


@transaction.atomic
def _set_mute(alert: Alert, **fields: object) -> None:
    Alert.objects.filter(pk=alert.pk).update(**fields)
    alert.refresh_from_db()
