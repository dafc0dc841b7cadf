"""Serve ``POST /webhook/max``, responding with 200 only after the updates are committed (docs/reference/http-api.md).

MAX accepts only status 200, retries for days otherwise, and unsubscribes a bot after 8 hours without a 200. So even a
malformed body is stored, and a request depends neither on switches nor on Redis or a worker. The receiver runs in the
event loop of the web process (config.web) and uses neither threads nor Django's middleware.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from django.conf import settings
from prometheus_client import Counter

from config.lib import request_id, tracing
from config.lib.http import access_log
from config.lib.http.addresses import client_address
from config.rsgi.fixed_responses import CLOSE, RETRY_AFTER, Answer, refusal
from config.rsgi.intake import CUT_OFF, Intake, NotRead
from config.rsgi.wsgi_environ import wsgi_environ
from webhooks import metrics, payloads
from webhooks.group_commit import GroupCommitter, NotStored
from webhooks.inbox import Arrival

if TYPE_CHECKING:
    from granian.rsgi import Headers, HTTPProtocol, Scope

PATHS = frozenset(f"{prefix}/webhook/max{slash}" for prefix in ("", "/api/v1") for slash in ("", "/"))
LARGEST_BODY = 256 * 1024
intake = Intake(64 * 1024**2)

_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")

refusals = Counter("webhook_refusals", "Webhook requests that were refused or not stored", ["status"])
old_secrets = Counter("webhook_old_secret", "Requests with a secret other than the first of WEBHOOK_SECRET")
empty_envelopes = Counter("webhook_empty_envelopes", "Envelopes without updates")


OK = Answer(HTTPStatus.OK, b'{"status":"ok"}')
NOT_POST = refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Only POST is allowed.", ("allow", "POST"), CLOSE)
WRONG_SECRET = refusal(HTTPStatus.UNAUTHORIZED, "The X-Max-Bot-Api-Secret header is missing or wrong.", CLOSE)
ENCODED = refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body without a Content-Encoding.")
FORM = refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON, not a form.")
NOT_STORED = refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "The update could not be stored. Send it again later.", RETRY_AFTER
)


class Receiver:
    """The receiver of one event loop, with its connections to PostgreSQL."""

    def __init__(self) -> None:
        self._committer = GroupCommitter()

    async def respond(self, scope: Scope, protocol: HTTPProtocol) -> None:
        headers = scope.headers
        request_id.begin(headers.get("x-request-id", ""))
        with tracing.receipt() as span:
            answer = _refusal_without_body(scope.method, headers) or await self._read(headers, protocol)
            if span:
                span.set_attribute("http.response.status_code", answer.status)
        if answer is not OK:
            refusals.labels(answer.status).inc()
        if answer is WRONG_SECRET:
            environ = wsgi_environ(scope)
            where = environ | {"REMOTE_ADDR": client_address(environ)}
            access_log.log("request_refused", where, "", level=logging.WARNING, status=answer.status)
        answer.send(protocol)

    async def _read(self, headers: Headers, protocol: HTTPProtocol) -> Answer:
        try:
            body = await intake.read(protocol, headers, LARGEST_BODY, self._committer.loop)
        except NotRead as refused:
            # A body that was cut off is answered as not stored, so that MAX sends the update again.
            return NOT_STORED if refused.answer is CUT_OFF else refused.answer
        try:
            return await self.store(headers, body)
        finally:
            intake.release(len(body))

    async def store(self, headers: Headers | dict[str, str], body: bytes) -> Answer:
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            return ENCODED
        is_form = headers.get("content-type", "").lower().startswith(_FORM_TYPES)
        if is_form and body.lstrip()[:1] not in (b"{", b"["):
            return FORM
        arrivals = arrivals_in(body, datetime.now(UTC), request_id.current.get())
        if not arrivals:
            empty_envelopes.inc()
            return OK
        try:
            await self._committer.insert(arrivals)
        except NotStored:
            return NOT_STORED
        if malformed := [arrival.update_type for arrival in arrivals if arrival.reason]:
            metrics.count_arrivals(malformed, "failed")
        return OK

    async def drain(self) -> None:
        """Wait until all received updates are committed, then close the connections."""
        await self._committer.drain()


def receive_once(body: bytes, secret: str | None, delivery_id: str) -> int:
    """Store a JSON body as if the web server had received it, with a receiver for this call only; return the status."""

    async def receive() -> int:
        request_id.current.set(delivery_id)
        receiver, headers = Receiver(), {"x-max-bot-api-secret": secret or ""}
        answer = _refusal_without_body("POST", headers) or await receiver.store(headers, body)
        await receiver.drain()
        return answer.status

    return asyncio.run(receive())


def _refusal_without_body(method: str, headers: Headers | dict[str, str]) -> Answer | None:
    if method != "POST":
        return NOT_POST
    return None if _has_secret(headers.get("x-max-bot-api-secret", "")) else WRONG_SECRET


def _has_secret(given: str) -> bool:
    secrets = settings.WEBHOOK_SECRETS
    if not secrets:
        return True
    # Compare with all secrets, so that the response time does not reveal which one matched.
    matches = [hmac.compare_digest(given.encode(), secret) for secret in secrets]
    if any(matches[1:]):
        old_secrets.inc()
    return any(matches)


def arrivals_in(body: bytes, received_at: datetime, delivery_id: str = "") -> list[Arrival]:
    """Return the inbox rows for a body, one for each update in it.

    A malformed update is quarantined. A body that cannot be parsed becomes one quarantined row. ``delivery_id`` is the
    request ID, which is stored with each row.
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
