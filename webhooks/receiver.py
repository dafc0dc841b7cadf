"""``POST /webhook/max``: says 200 only to what is committed (contract §3).

The messenger counts only an exact 200, tries again for days, and unsubscribes a bot after 8 h without one: so every
body with a right secret is kept, understood or not, and no switch, no Redis and no worker can make it fail.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from config.env import comma_list
from config.errors import RETRY_AFTER_SECONDS
from config.errors import body as error_body
from webhooks import updates
from webhooks.models import Arrival, InboxUpdate
from webhooks.wakeup import waker

LARGEST_BODY = 256 * 1024
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


_OK = Answer(200, b'{"status":"ok"}')


def _refusal(status: int, message: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(error_body(status, message)).encode(), named)


_NOT_POST = _refusal(405, "only POST is allowed", Allow="POST")
_WRONG_SECRET = _refusal(401, "the header X-Max-Bot-Api-Secret is missing or wrong")
_TOO_LARGE = _refusal(413, f"the body is larger than {LARGEST_BODY} bytes")
_ENCODED = _refusal(415, "send the body without a Content-Encoding")
_FORM = _refusal(415, "send JSON, not a form")
_UNAVAILABLE = _refusal(503, "the update could not be stored", Retry_After=str(RETRY_AFTER_SECONDS))


def receive(environ: Mapping[str, str], read: Callable[[int], bytes]) -> Answer:
    """Answer one request, given its WSGI environment and a function that reads up to so many bytes of the body."""
    if environ["REQUEST_METHOD"] != "POST":
        return _NOT_POST
    if not _knows_secret(environ.get("HTTP_X_MAX_BOT_API_SECRET", "")):
        logger.warning("webhook secret refused", extra={"event": "secret_refused"})
        return _WRONG_SECRET
    length = environ.get("CONTENT_LENGTH") or ""
    if int(length or 0) > LARGEST_BODY:
        return _TOO_LARGE
    is_chunked = "HTTP_TRANSFER_ENCODING" in environ
    body = read(LARGEST_BODY + 1) if is_chunked else read(int(length or 0))
    if len(body) > LARGEST_BODY:
        return _TOO_LARGE
    return _refusal_of_form(environ, body) or _store(body)


def _knows_secret(given: str) -> bool:
    secrets = comma_list(settings.WEBHOOK_SECRET)
    if not secrets:
        return True
    presented = given.encode("latin-1", errors="replace")
    # Summed, not any(): the time must not tell which secret matched.
    return sum(hmac.compare_digest(presented, secret.encode()) for secret in secrets) > 0


def _refusal_of_form(environ: Mapping[str, str], body: bytes) -> Answer | None:
    if environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in ("", "identity"):
        return _ENCODED
    is_form = environ.get("CONTENT_TYPE", "").lower().startswith(_FORM_TYPES)
    return _FORM if is_form and body.lstrip()[:1] not in (b"{", b"[") else None


def _store(body: bytes) -> Answer:
    try:
        InboxUpdate.objects.store(arrivals_in(body))
    except DatabaseError as error:
        logger.error("webhook update not stored", extra={"event": "store_failed", "error": type(error).__name__})
        return _UNAVAILABLE
    waker.announce()
    return _OK


def arrivals_in(body: bytes) -> list[Arrival]:
    """Return the rows that a body becomes: one an update, or one quarantined whole."""
    now = timezone.now()
    try:
        unwrapped = updates.unwrap(body)
    except updates.MalformedUpdate as error:
        return [Arrival(updates.repeat_key({}, body, now), body, updates.OTHER, str(error), now)]
    return [
        Arrival(updates.repeat_key(update, own, now), own, updates.type_of(update), "", now)
        for own, update in unwrapped
    ]
