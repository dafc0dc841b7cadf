"""Messages on their way to the sinks: a dead one delays them, in their order, and is asked once a pause."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from monitoring.alerts import channels
from monitoring.alerts.channels import Refused, Unreachable
from monitoring.alerts.models import Alert, Delivery, DeliveryState

FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(minutes=10)
GIVEN_UP_AFTER = timedelta(days=3)
REFUSALS = 5
# A sink that is back gets what waited bit by bit.
AT_ONCE = 20

logger = logging.getLogger(__name__)


def put(alert: Alert, event: str, *, but: Collection[str] = ()) -> None:
    """Write a message for every sink, in the transaction of the change that it tells of."""
    Delivery.objects.bulk_create(
        Delivery(alert=alert, channel=channel, event=event, payload=alert.as_json())
        for channel in channels.configured()
        if channel not in but
    )


def put_end(alert: Alert) -> None:
    """Tell the end of an alert. A sink that its mute kept from hearing of it at all hears nothing of its end either."""
    unheard: set[str] = set()
    if alert.is_muted:
        held = alert.deliveries.filter(state=DeliveryState.WAITING)
        unheard = set(held.values_list("channel", flat=True))
        unheard -= set(alert.deliveries.filter(state=DeliveryState.SENT).values_list("channel", flat=True))
        held.update(state=DeliveryState.FAILED, error="muted until it was over")
    put(alert, Delivery.Event.RESOLVED, but=unheard)


def deliver() -> int:
    """Send what is due; return how many messages got through. What waits for a sink that was taken away is given up."""
    configured = channels.configured()
    orphans = Delivery.objects.filter(state=DeliveryState.WAITING).exclude(channel__in=configured)
    orphans.update(state=DeliveryState.FAILED, error="not configured any more")
    return sum(_deliver_to(channel) for channel in configured)


def _deliver_to(channel: str) -> int:
    for sent in range(AT_ONCE):
        if not _deliver_next(channel):
            return sent
    return AT_ONCE


@transaction.atomic
def _deliver_next(channel: str) -> bool:
    """Send the oldest message of a channel, locked against other senders; tell whether the next one may follow."""
    waiting = Delivery.objects.waiting().filter(channel=channel)
    head = waiting.order_by("pk").values_list("pk", flat=True).first()
    # Locked by its id: another sender's lock must not let the message behind it pass.
    delivery = waiting.select_for_update(skip_locked=True, of=("self",)).filter(pk=head).first() if head else None
    if delivery is None or delivery.next_try_at > timezone.now():
        return False
    try:
        channels.SENDERS[channel](delivery)
    except (Unreachable, Refused) as error:
        return _failed(delivery, error)
    delivery.state, delivery.sent_at, delivery.error = DeliveryState.SENT, timezone.now(), ""
    delivery.save(update_fields=["state", "sent_at", "error"])
    return True


def _failed(delivery: Delivery, error: Exception) -> bool:
    """Note a failed try. A message that is given up lets the next one follow."""
    now = timezone.now()
    delivery.tries, delivery.error = delivery.tries + 1, str(error)[:200]
    pause = min(FIRST_PAUSE * 3 ** min(delivery.tries - 1, 10), LONGEST_PAUSE)
    is_refused = isinstance(error, Refused) and delivery.tries >= REFUSALS
    if is_refused or now - delivery.created_at > GIVEN_UP_AFTER:
        delivery.state = DeliveryState.FAILED
    delivery.next_try_at = now + pause
    delivery.save(update_fields=["tries", "error", "state", "next_try_at"])
    fields = {"event": "alert_not_delivered", "channel": delivery.channel, "error": delivery.error}
    logger.warning("alert not delivered", extra=fields | {"tries": delivery.tries, "state": delivery.state})
    return delivery.state == DeliveryState.FAILED
