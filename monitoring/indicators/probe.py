"""A synthetic update, signed like the messenger's, through the webhook, the inbox and the worker."""

from __future__ import annotations

import io
import json
import time
import uuid
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from config.lib import request_id
from monitoring.indicators.models import RoundTrip
from profiles.rollout.decision import is_processing
from webhooks import receiver
from webhooks.delivery_watchdog import SYNTHETIC
from webhooks.models import InboxUpdate, State
from webhooks.payloads import duplicate_keys

PATIENCE_SECONDS = 5.0
# A type that MAX does not have: it names nobody, so nothing of it ends in the cache.
PROBE_TYPE = "rollout_probe"
# Kept in English and read in the reader's language, so without numbers.
_NOT_WORKED = _("not processed in time: is the inbox worker running?")
_SWITCHED_OFF = _("not processed in time: processing is off")
_REFUSALS = {
    401: _("the webhook refused our own secret (401)"),
    503: _("the webhook could not store it (503)"),
}
_REFUSED = _("the webhook did not answer 200")


def round_trip(patience: float = PATIENCE_SECONDS) -> RoundTrip:
    """Send the update and wait until the worker is done with it; the result is a row."""
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
            trip.error = _NOT_WORKED if is_processing() else _SWITCHED_OFF
        else:
            time.sleep(0.02)
    trip.save()
    return trip


def secret() -> str | None:
    """Return what the messenger would send with an update, None where no secret is set."""
    return settings.WEBHOOK_SECRETS[0].decode() if settings.WEBHOOK_SECRETS else None


def synthetic_id() -> str:
    """Return a request id by which the inbox knows an update of ours from one of MAX's."""
    return f"{SYNTHETIC}{uuid.uuid4().hex}"


def post(body: bytes, secret: str | None) -> int:
    """Hand a body to the receiver as the web server does; return the status of its answer."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/webhook/max",
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    if secret:
        environ["HTTP_X_MAX_BOT_API_SECRET"] = secret
    statuses: list[int] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        statuses.append(int(status[:3]))

    mark = request_id.current.set(synthetic_id())
    try:
        receiver.application(environ, start_response)
    finally:
        request_id.current.reset(mark)
    return statuses[0]
