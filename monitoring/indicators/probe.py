"""Send a synthetic update, with the secret that MAX uses, through the webhook, the inbox and its worker."""

import json
import time
import uuid

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from monitoring.indicators.models import RoundTrip
from profiles.rollout.decision import is_processing
from webhooks import receiver
from webhooks.delivery_watchdog import SYNTHETIC
from webhooks.models import InboxUpdate, State
from webhooks.payloads import duplicate_keys

PATIENCE_SECONDS = 5.0
# MAX has no update type of this name, and the update contains no names, so the profile cache stays unchanged.
PROBE_TYPE = "rollout_probe"
# Errors are stored in English and translated when they are shown, so they have no parameters.
_NOT_PROCESSED = _("not processed in time; check that the inbox worker is running")
_SWITCHED_OFF = _("not processed in time; processing is off")
_REFUSALS = {
    401: _("the webhook rejected its own secret (401)"),
    503: _("the webhook could not store the update (503)"),
}
_REFUSED = _("the webhook did not answer 200")


def round_trip(patience: float = PATIENCE_SECONDS) -> RoundTrip:
    """Send a synthetic update, wait at most ``patience`` seconds for the inbox worker, and return the stored result."""
    now = timezone.now()
    update = {"update_type": PROBE_TYPE, "timestamp": time.time_ns() // 1_000_000, "chat_id": 0, "user_id": 0}
    body = json.dumps(update).encode()
    started = time.perf_counter()
    status = post(body, secret())
    trip = RoundTrip(at=now, error="" if status == 200 else _REFUSALS.get(status, _REFUSED))
    key, _earlier = duplicate_keys(update, body, now)
    while not trip.error and trip.took_ms is None:
        took = time.perf_counter() - started
        if InboxUpdate.objects.filter(dedup_key=key).exclude(state=State.PENDING).exists():
            trip.took_ms = took * 1000
        elif took > patience:
            trip.error = _NOT_PROCESSED if is_processing() else _SWITCHED_OFF
        else:
            time.sleep(0.02)
    trip.save()
    return trip


def secret() -> str | None:
    """Return the secret that MAX would send; None if no secret is configured."""
    return settings.WEBHOOK_SECRETS[0].decode() if settings.WEBHOOK_SECRETS else None


def synthetic_id() -> str:
    """Return a new request ID that marks an update in the inbox as synthetic."""
    return f"{SYNTHETIC}{uuid.uuid4().hex}"


def post(body: bytes, secret: str | None) -> int:
    """Pass a body to the webhook receiver in this process, and return the response status."""
    return receiver.receive_once(body, secret, synthetic_id())
