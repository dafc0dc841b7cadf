"""Serve ``POST /webhook/max``, responding with 200 only after the updates are committed (docs/reference/http-api.md).

MAX accepts only status 200, retries for days otherwise, and unsubscribes a bot after 8 hours without a 200. So a
malformed body is stored too, and the request depends neither on switches nor on Redis or a worker. The receiver is a
WSGI application in front of Django's, because it needs none of the middleware.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone
from prometheus_client import Counter

from config.lib import access_log, request_id
from config.lib.addresses import client_address
from config.lib.errors import RETRY_AFTER_SECONDS
from config.lib.errors import body as error_body
from webhooks import metrics, payloads
from webhooks.group_commit import NotStored, committer
from webhooks.inbox import Arrival

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PATHS = frozenset(f"{prefix}/webhook/max{slash}" for prefix in ("", "/api/v1") for slash in ("", "/"))
LARGEST_BODY = 256 * 1024

_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")

refusals = Counter("webhook_refusals", "Webhook requests that were refused or not stored", ["status"])
old_secrets = Counter("webhook_old_secret", "Requests with a secret other than the first of WEBHOOK_SECRET")
empty_envelopes = Counter("webhook_empty_envelopes", "Envelopes without updates")


class Answer:
    """A response that is built once and sent unchanged to every request."""

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
NOT_POST = refusal("405 Method Not Allowed", "Only POST is allowed.", ("Allow", "POST"))
WRONG_SECRET = refusal("401 Unauthorized", "The X-Max-Bot-Api-Secret header is missing or wrong.")
TOO_LARGE = refusal("413 Content Too Large", f"The body is larger than {LARGEST_BODY} bytes.")
ENCODED = refusal("415 Unsupported Media Type", "Send the body without a Content-Encoding.")
FORM = refusal("415 Unsupported Media Type", "Send JSON, not a form.")
_RETRY_AFTER = ("Retry-After", str(RETRY_AFTER_SECONDS))
NOT_STORED = refusal("503 Service Unavailable", "The update could not be stored. Send it again later.", _RETRY_AFTER)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    answer = receive(environ)
    if answer is not OK:
        refusals.labels(answer.code).inc()
    if answer is WRONG_SECRET:
        where = environ | {"REMOTE_ADDR": client_address(environ)}
        access_log.log("request_refused", where, "", level=logging.WARNING, status=401)
    start_response(answer.status, answer.headers)
    return answer.body


def receive(environ: WSGIEnvironment) -> Answer:
    if environ["REQUEST_METHOD"] != "POST":
        return NOT_POST
    if not _has_secret(environ):
        return WRONG_SECRET
    body = _read_body(environ)
    if isinstance(body, Answer):
        return body
    if environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in ("", "identity"):
        return ENCODED
    is_form = environ.get("CONTENT_TYPE", "").lower().startswith(_FORM_TYPES)
    if is_form and body.lstrip()[:1] not in (b"{", b"["):
        return FORM
    return _store(body)


def _store(body: bytes) -> Answer:
    arrivals = arrivals_in(body, timezone.now(), request_id.current.get())
    if not arrivals:
        empty_envelopes.inc()
        return OK
    try:
        committer.insert(arrivals)
    except NotStored:
        return NOT_STORED
    if malformed := [arrival.update_type for arrival in arrivals if arrival.reason]:
        metrics.count_arrivals(malformed, "failed")
    return OK


def _has_secret(environ: WSGIEnvironment) -> bool:
    secrets = settings.WEBHOOK_SECRETS
    if not secrets:
        return True
    given = environ.get("HTTP_X_MAX_BOT_API_SECRET", "").encode("latin-1", errors="replace")
    # Compare with all secrets, so that the response time does not reveal which one matched.
    matches = [hmac.compare_digest(given, secret) for secret in secrets]
    if any(matches[1:]):
        old_secrets.inc()
    return any(matches)


def _read_body(environ: WSGIEnvironment) -> bytes | Answer:
    """Return the body of the request, or an error response if the body is too large or incomplete.

    A chunked request has no Content-Length, so its size is checked while reading.
    """
    read: Callable[[int], bytes] = environ["wsgi.input"].read
    if "HTTP_TRANSFER_ENCODING" in environ:
        body = read(LARGEST_BODY + 1)
        return body if len(body) <= LARGEST_BODY else TOO_LARGE
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > LARGEST_BODY:
        return TOO_LARGE
    body = read(length)
    return body if len(body) == length else NOT_STORED


def arrivals_in(body: bytes, received_at: datetime, delivery_id: str = "") -> list[Arrival]:
    """Return the inbox rows for a body: one per update, quarantined if it is malformed, or one for the whole body.

    ``delivery_id`` is the request ID, which is stored with each row.
    """
    try:
        items = payloads.unwrap(body)
    except payloads.MalformedUpdate as error:
        items = [payloads.Item(body, {}, str(error))]
    arrivals = []
    for place, (own_body, update, reason) in enumerate(items):
        # Equal bad items of an envelope are not duplicate deliveries of an update.
        identity = b"%d\0" % place + own_body if reason else own_body
        key, previous_key = payloads.duplicate_keys(update, identity, received_at)
        update_type = payloads.type_of(update)
        arrivals.append(Arrival(key, previous_key, own_body, update_type, reason, received_at, delivery_id))
    return arrivals
