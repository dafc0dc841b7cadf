"""Serve ``POST /webhook/max``: 200 only for what is committed (docs/reference/http-api.md).

The messenger counts only an exact 200, tries again for days, and unsubscribes a bot after 8 h without one: so every
body with a right secret is kept, understood or not, and no switch, no Redis and no worker can make it fail. It is a
WSGI application in front of Django's: none of the middleware is of use to it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone
from prometheus_client import Counter

from config.lib import request_id
from config.lib.errors import RETRY_AFTER_SECONDS
from config.lib.errors import body as error_body
from webhooks import metrics, payloads
from webhooks.group_commit import NotStored, writer
from webhooks.inbox import Arrival

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PATHS = frozenset(f"{prefix}/webhook/max{slash}" for prefix in ("", "/api/v1") for slash in ("", "/"))
LARGEST_BODY = 256 * 1024

_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")

refusals = Counter("webhook_refusals", "Requests to the webhook that were not stored", ["status"])
old_secrets = Counter("webhook_old_secret", "Requests with a secret other than the first of WEBHOOK_SECRET")
empty_envelopes = Counter("webhook_empty_envelopes", "Polling envelopes without an update: nothing to store")


class Answer:
    """A response that never changes, made once."""

    def __init__(
        self, status: str, body: bytes, *headers: tuple[str, str], content_type: str = "application/json"
    ) -> None:
        self.code = status[:3]
        self.status = status
        self.body = [body]
        self.headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers]


def refusal(status: str, message: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status, json.dumps(error_body(int(status[:3]), message)).encode(), *headers)


OK = Answer("200 OK", b'{"status":"ok"}')
NOT_POST = refusal("405 Method Not Allowed", "only POST is allowed", ("Allow", "POST"))
WRONG_SECRET = refusal("401 Unauthorized", "the header X-Max-Bot-Api-Secret is missing or wrong")
TOO_LARGE = refusal("413 Content Too Large", f"the body is larger than {LARGEST_BODY} bytes")
ENCODED = refusal("415 Unsupported Media Type", "send the body without a Content-Encoding")
FORM = refusal("415 Unsupported Media Type", "send JSON, not a form")
NOT_STORED = refusal(
    "503 Service Unavailable", "the update could not be stored", ("Retry-After", str(RETRY_AFTER_SECONDS))
)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    answer = receive(environ)
    if answer is not OK:
        refusals.labels(answer.code).inc()
    start_response(answer.status, answer.headers)
    return answer.body


def receive(environ: WSGIEnvironment) -> Answer:
    if environ["REQUEST_METHOD"] != "POST":
        return NOT_POST
    if not _knows_secret(environ.get("HTTP_X_MAX_BOT_API_SECRET", "")):
        return WRONG_SECRET
    try:
        body = _read_body(environ)
    except EOFError:
        return NOT_STORED
    if body is None:
        return TOO_LARGE
    return _refusal_of_form(environ, body) or _store(body)


def _knows_secret(given: str) -> bool:
    secrets = settings.WEBHOOK_SECRETS
    if not secrets:
        return True
    presented = given.encode("latin-1", errors="replace")
    # All are compared: the time must not tell which secret came close.
    matches = [hmac.compare_digest(presented, secret) for secret in secrets]
    if any(matches[1:]):
        old_secrets.inc()
    return any(matches)


def _read_body(environ: WSGIEnvironment) -> bytes | None:
    """Return the body, None when it is too large: as announced, and as counted where nothing was announced."""
    read: Callable[[int], bytes] = environ["wsgi.input"].read
    if "HTTP_TRANSFER_ENCODING" in environ:
        body = read(LARGEST_BODY + 1)
        return body if len(body) <= LARGEST_BODY else None
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > LARGEST_BODY:
        return None
    body = read(length)
    if len(body) < length:
        raise EOFError("the sender went away in the middle of the body")
    return body


def _refusal_of_form(environ: WSGIEnvironment, body: bytes) -> Answer | None:
    if environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in ("", "identity"):
        return ENCODED
    is_form = environ.get("CONTENT_TYPE", "").lower().startswith(_FORM_TYPES)
    return FORM if is_form and body.lstrip()[:1] not in (b"{", b"[") else None


def _store(body: bytes) -> Answer:
    arrivals = arrivals_in(body, timezone.now(), request_id.current.get())
    if not arrivals:
        empty_envelopes.inc()
        return OK
    try:
        writer.write(arrivals)
    except NotStored:
        return NOT_STORED
    if any(arrival.reason for arrival in arrivals):
        metrics.count_arrivals([arrival.update_type for arrival in arrivals if arrival.reason], "failed")
    return OK


def arrivals_in(body: bytes, received_at: datetime, delivery: str = "") -> list[Arrival]:
    """Return the rows that a body becomes: one an update, or one quarantined whole; ``delivery`` is a request id."""
    try:
        unwrapped = payloads.unwrap(body)
    except payloads.MalformedUpdate as error:
        return [_arrival({}, body, received_at, delivery, str(error))]
    return [_arrival(update, own_body, received_at, delivery) for own_body, update in unwrapped]


def _arrival(update: dict[str, Any], body: bytes, received_at: datetime, delivery: str, reason: str = "") -> Arrival:
    key, earlier_key = payloads.duplicate_keys(update, body, received_at)
    return Arrival(key, earlier_key, body, payloads.type_of(update), reason, received_at, delivery)
