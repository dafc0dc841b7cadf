"""The bot's subscriptions at the messenger and its long polling: the only module that calls this part of MAX's API.

A lost subscription means no updates, a stale one every update twice (docs/reference/max-api.md).
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from django.conf import settings
from django.utils import translation
from django.utils.http import is_same_domain
from requests.adapters import HTTPAdapter

from profiles.rollout.sentences import Sentence
from webhooks.receiver import PATHS
from webhooks.updates import LARGEST_ENVELOPE

UPDATE_TYPES = (
    "message_created", "message_edited", "message_removed", "message_callback",
    "comment_created", "comment_edited", "comment_removed",
    "bot_added", "bot_removed", "bot_started", "bot_stopped", "bot_admin_permissions_changed",
    "user_added", "user_removed", "chat_title_changed",
    "dialog_cleared", "dialog_muted", "dialog_unmuted", "dialog_removed",
)  # fmt: skip

_LARGEST_ANSWER = 8 * 1024 * 1024
_LATEST_MILLISECONDS = 253_402_300_799_999  # the year 9999

# The API allows 30 requests a second and says nothing of Retry-After; where it sends one it is obeyed, up to 10 s.
_BUSY = urllib3.Retry(
    3, connect=0, read=0, redirect=0, other=0, allowed_methods=None, status_forcelist=[429], backoff_factor=0.3,
    retry_after_max=10, raise_on_status=False,
)  # fmt: skip
_session = requests.Session()
for _scheme in ("https://", "http://"):
    _session.mount(_scheme, HTTPAdapter(max_retries=_BUSY))


class PlatformError(Exception):
    """The platform gave no usable answer; the text is one line without any secret."""


class PlatformRefusal(PlatformError):
    """The platform, or we ourselves, refused: the same request again would be refused again."""


class Subscription(NamedTuple):
    """A subscription as MAX lists it; no update types means all."""

    url: str
    since: datetime | None
    update_types: frozenset[str]


class Finding(NamedTuple):
    """What is wrong with the subscriptions: the event to log, and a line for people."""

    event: str
    sentence: Sentence

    @property
    def message(self) -> str:
        """Return the line in English, as logs, commands and other systems read it."""
        with translation.override("en"):
            return str(self.sentence)


class Polled(NamedTuple):
    """An answer of long polling: its bytes are an envelope of updates, the marker is where the next one begins."""

    body: bytes
    total: int
    marker: int | None


# Addresses


def canonical(url: str) -> str:
    """Return the one spelling of an address that MAX accepts; raise ValueError, which says why, for any other."""
    parts = urlsplit(url)
    if not url.isascii() or parts.username is not None or parts.fragment or not parts.hostname:
        raise ValueError("an address is https://host/webhook/max, in ASCII letters")
    if parts.scheme != "https":
        raise ValueError("MAX sends updates by https only")
    if parts.port not in (None, 443):
        raise ValueError("MAX sends updates to port 443 only")
    if parts.path not in PATHS:
        raise ValueError("the path of the receiver is /webhook/max")
    return f"https://{parts.hostname}{parts.path}" + (f"?{parts.query}" if parts.query else "")


def our_hosts(*more: str) -> set[str]:
    """Return the hosts whose subscriptions are ours to remove: those that this deployment names, and ``more``."""
    public = urlsplit(settings.WEBHOOK_PUBLIC_URL).hostname
    return {host.lower() for host in (*settings.ALLOWED_HOSTS, *more, public) if host and host != "*"}


def _is(subscription: Subscription, url: str) -> bool:
    try:
        return canonical(subscription.url) == url
    except ValueError:
        return False


def _is_stale(subscription: Subscription, url: str, hosts: Collection[str]) -> bool:
    """Tell whether a subscription is one of ours, of any scheme and port, but not the one that is wanted."""
    try:
        parts = urlsplit(subscription.url)
    except ValueError:
        return False
    is_ours = parts.path in PATHS and any(is_same_domain(parts.hostname or "", host) for host in hosts)
    return is_ours and not _is(subscription, url)


# What is wrong


def findings_in(existing: Sequence[Subscription], url: str, hosts: Collection[str]) -> list[Finding]:
    """Compare what MAX says with the one subscription that should be there."""
    findings = []
    wanted = [subscription for subscription in existing if _is(subscription, url)]
    if not wanted:
        findings.append(Finding("subscription_lost", Sentence("MAX sends no updates to %(url)s", {"url": url})))
    for subscription in wanted:
        missing = set(UPDATE_TYPES) - subscription.update_types if subscription.update_types else ()
        if missing:
            why = Sentence("MAX does not send %(types)s", {"types": ", ".join(sorted(missing))})
            findings.append(Finding("subscription_incomplete", why))
    if len(wanted) > 1:
        words = {"url": url, "times": len(wanted)}
        why = Sentence("MAX sends every update %(times)d times to %(url)s", words)
        findings.append(Finding("subscription_doubled", why))
    findings += [
        Finding("subscription_stale", Sentence("MAX sends every update to %(url)s too", {"url": subscription.url}))
        for subscription in stale_in(existing, url, hosts)
    ]
    return findings


def stale_in(existing: Sequence[Subscription], url: str, hosts: Collection[str]) -> list[Subscription]:
    return [subscription for subscription in existing if _is_stale(subscription, url, hosts)]


def subscription_findings() -> list[Finding]:
    """Ask MAX and compare with WEBHOOK_PUBLIC_URL; nothing is wrong where none is configured."""
    if not settings.WEBHOOK_PUBLIC_URL or not settings.MAX_BOT_TOKEN:
        return []
    return findings_in(subscriptions(), canonical(settings.WEBHOOK_PUBLIC_URL), our_hosts())


# What MAX is asked


def subscriptions() -> list[Subscription]:
    """Return what MAX lists for this bot; like all below, raise PlatformError when it cannot be asked."""
    _, answer = _call("GET", "/subscriptions")
    try:
        return [
            Subscription(_printable(item["url"]), _moment(item.get("time")), frozenset(item.get("update_types") or ()))
            for item in answer["subscriptions"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise PlatformError("the platform's list of subscriptions makes no sense") from error


def subscribe(url: str, *, replacing: Sequence[Subscription]) -> None:
    """Remove the subscriptions that are replaced, then add this one with the first secret and every update type."""
    body = {"url": canonical(url), "update_types": UPDATE_TYPES, "secret": first_secret()}
    for subscription in replacing:
        unsubscribe(subscription.url)
    _call("POST", "/subscriptions", json=body)


def unsubscribe(url: str) -> None:
    _call("DELETE", "/subscriptions", params={"url": url})


def poll(marker: int | None, *, wait: timedelta) -> Polled:
    """Return the updates after a marker, waiting for one; asking with the new marker tells MAX that they were kept."""
    params = {"limit": LARGEST_ENVELOPE, "timeout": int(wait.total_seconds()), "marker": marker}
    body, answer = _call("GET", "/updates", patience=wait, params=params)
    updates, next_marker = answer.get("updates"), answer.get("marker")
    if not isinstance(updates, list) or not isinstance(next_marker, int | None):
        raise PlatformError("the platform's answer holds no updates")
    return Polled(body, len(updates), marker if next_marker is None else next_marker)


def first_secret() -> str:
    if not settings.WEBHOOK_SECRETS:
        raise PlatformRefusal("WEBHOOK_SECRET is not set: anybody could send updates in MAX's name")
    return str(settings.WEBHOOK_SECRETS[0].decode())


def _call(method: str, path: str, *, patience: timedelta = timedelta(), **request: Any) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes and the JSON object of a successful answer; ``patience`` comes on top of MAX_API_TIMEOUT."""
    if not settings.MAX_BOT_TOKEN:
        raise PlatformRefusal("MAX_BOT_TOKEN is not set")
    try:
        with _session.request(
            method,
            settings.MAX_API_URL.rstrip("/") + path,
            auth=_authorize,
            headers={"Accept-Encoding": "identity"},
            timeout=(settings.MAX_API_TIMEOUT + patience).total_seconds(),
            verify=settings.MAX_API_CA_BUNDLE or True,
            allow_redirects=False,
            stream=True,
            **request,
        ) as response:
            body = _body(response)
    except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
        raise PlatformError(_explained(error)) from error
    return body, _checked(response.status_code, body)


def _authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # As a header of the request, ~/.netrc would overwrite it.
    request.headers["Authorization"] = settings.MAX_BOT_TOKEN
    return request


def _body(response: requests.Response) -> bytes:
    """Read an answer of bounded length in bounded time: a slow drip never meets the timeout of a single read."""
    deadline = time.monotonic() + settings.MAX_API_TIMEOUT.total_seconds()
    parts, length = [], 0
    while part := response.raw.read1(64 * 1024):
        parts.append(part)
        length += len(part)
        if length > _LARGEST_ANSWER or time.monotonic() > deadline:
            raise PlatformError("the platform's answer is too long, or took too long")
    return b"".join(parts)


def _explained(error: Exception) -> str:
    """Say what went wrong without the error's own text, which may quote the token."""
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate of {_host()} is not trusted: set MAX_API_CA_BUNDLE to a file with its root"
    if isinstance(error, requests.Timeout):
        return f"the platform at {_host()} did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return f"the platform at {_host()} cannot be reached"
    return f"the platform cannot be asked: {type(error).__name__}; see MAX_API_URL, MAX_BOT_TOKEN, MAX_API_CA_BUNDLE"


def _host() -> str:
    """Return the host and port of an address that was just asked, without a password that may stand before it."""
    return urlsplit(settings.MAX_API_URL).netloc.rpartition("@")[2]


def _checked(status: int, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    message = answer.get("message") if isinstance(answer, dict) else None
    said = f": {_printable(message)}" if isinstance(message, str) and message else ""
    if status == requests.codes.too_many_requests or status >= requests.codes.internal_server_error:
        raise PlatformError(f"the platform answered {status}{said}")
    if status != requests.codes.ok:
        raise PlatformRefusal(f"the platform answered {status}{said}")
    if not isinstance(answer, dict):
        raise PlatformError("the platform's answer is not a JSON object")
    if answer.get("success") is False:
        raise PlatformRefusal(f"the platform refused{said}")
    return answer


def _printable(text: str) -> str:
    """Return what MAX wrote fit for a terminal, without a secret that it may quote."""
    for secret in (settings.MAX_BOT_TOKEN, *(secret.decode() for secret in settings.WEBHOOK_SECRETS)):
        text = text.replace(secret, "***") if secret else text
    return "".join(filter(str.isprintable, text))[:500]


def _moment(milliseconds: object) -> datetime | None:
    if isinstance(milliseconds, int) and 0 <= milliseconds <= _LATEST_MILLISECONDS:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    return None
