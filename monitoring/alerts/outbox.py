"""Deliver alert notifications in order within each channel; a channel that is down does not delay the others."""

import logging
import time
from collections.abc import Collection
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from monitoring.alerts import channels
from monitoring.alerts.channels import Refused, Unreachable
from monitoring.alerts.models import Alert, Delivery, DeliveryState

FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(minutes=10)
GIVE_UP_AFTER = timedelta(days=3)
MAX_REFUSALS = 5
# After an outage, a channel gets its backlog in batches of this size, one per run. A slow receiver gets less per run,
# because the worker, which may have only one process, has other tasks.
BATCH_SIZE = 20
CHANNEL_SECONDS = 5.0

logger = logging.getLogger(__name__)


def put(alert: Alert, event: str, *, skipped: Collection[str] = ()) -> None:
    """Queue a notification per configured channel except ``skipped``, in the transaction that changes the alert."""
    Delivery.objects.bulk_create(
        Delivery(alert=alert, channel=channel, event=event, payload=alert.as_json())
        for channel in channels.configured()
        if channel not in skipped
    )


def put_resolved(alert: Alert) -> None:
    """Queue the notification that the alert has resolved.

    Skip the channels to which nothing about the alert was sent because it was muted.
    """
    skipped: set[str] = set()
    if alert.is_muted:
        held = alert.deliveries.filter(state=DeliveryState.WAITING)
        sent = alert.deliveries.filter(state=DeliveryState.SENT)
        skipped = {*held.values_list("channel", flat=True)} - {*sent.values_list("channel", flat=True)}
        held.update(state=DeliveryState.FAILED, error="muted until resolved")
    put(alert, Delivery.Event.RESOLVED, skipped=skipped)


def deliver() -> int:
    """Send the notifications that are due; return how many were sent or given up after too many failures."""
    configured = channels.configured()
    orphans = Delivery.objects.filter(state=DeliveryState.WAITING).exclude(channel__in=configured)
    orphans.update(state=DeliveryState.FAILED, error="channel no longer configured")
    return sum(_deliver_to(channel) for channel in configured)


def _deliver_to(channel: str) -> int:
    ends_at = time.monotonic() + CHANNEL_SECONDS
    sent = 0
    while sent < BATCH_SIZE and time.monotonic() < ends_at and (delivery := _claim_next(channel)):
        try:
            channels.SENDERS[channel](delivery)
        except (Unreachable, Refused) as error:
            if not _failed(delivery, error):
                break
        else:
            # _claim_next() has counted this attempt as a failed one.
            delivery.state, delivery.sent_at, delivery.error = DeliveryState.SENT, timezone.now(), ""
            delivery.tries -= 1
            delivery.save(update_fields=["state", "sent_at", "error", "tries"])
        sent += 1
    return sent


@transaction.atomic
def _claim_next(channel: str) -> Delivery | None:
    """Return the channel's oldest waiting notification if it is due; count the attempt, and schedule the next attempt.

    The attempt is counted before it is made, so that it counts even if the process is killed. The next attempt is
    scheduled later than this one can end. Until then, other senders leave the notification alone, so no transaction has
    to stay open while the receiver answers.
    """
    waiting = Delivery.objects.waiting().filter(channel=channel)
    head = waiting.order_by("pk").values_list("pk", flat=True).first()
    # Lock by primary key: otherwise the next notification would overtake one that another sender has locked.
    delivery = waiting.select_for_update(skip_locked=True, of=("self",)).filter(pk=head).first() if head else None
    if delivery is None or _is_paused(delivery):
        return None
    delivery.tries += 1
    delivery.next_try_at = timezone.now() + min(FIRST_PAUSE * 3 ** min(delivery.tries - 1, 10), LONGEST_PAUSE)
    delivery.save(update_fields=["tries", "next_try_at"])
    return delivery


def _is_paused(delivery: Delivery) -> bool:
    """Return whether the next attempt has to wait. The first attempt never waits, even if the clock was set back."""
    return delivery.tries > 0 and timedelta() < delivery.next_try_at - timezone.now() <= LONGEST_PAUSE


def _failed(delivery: Delivery, error: Exception) -> bool:
    """Store why an attempt failed; return True if the notification is given up, so that the next one may be sent."""
    delivery.error = str(error)[:200]
    is_refused = isinstance(error, Refused) and delivery.tries >= MAX_REFUSALS
    if is_refused or timezone.now() - delivery.created_at > GIVE_UP_AFTER:
        delivery.state = DeliveryState.FAILED
    delivery.save(update_fields=["error", "state"])
    fields = {"event": "alert_not_delivered", "channel": delivery.channel, "error": delivery.error}
    logger.warning("alert not delivered", extra=fields | {"tries": delivery.tries, "state": delivery.state})
    return delivery.state == DeliveryState.FAILED
