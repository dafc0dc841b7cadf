"""The bot's subscriptions at MAX: what is wrong with them, and the requests that repair it.

A lost subscription means no updates, a stale one every update twice (docs/reference/max-api.md).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import translation
from django.utils.http import is_same_domain
from django.utils.translation import gettext_noop as _

from config.lib.messages import Message
from profiles.max_api import client
from profiles.max_api.client import MaxError, printable
from webhooks.payloads import UPDATE_TYPES
from webhooks.receiver import PATHS

_LATEST_MILLISECONDS = 253_402_300_799_999  # the year 9999


class Subscription(NamedTuple):
    """A subscription as MAX lists it; no update types means all."""

    url: str
    since: datetime | None
    update_types: frozenset[str]


class Problem(NamedTuple):
    """What is wrong with the subscriptions: the event to log, and a message; ``str()`` is in English for logs."""

    event: str
    message: Message

    def __str__(self) -> str:
        with translation.override("en"):
            return str(self.message)


def canonical(url: str) -> str:
    """Return the one spelling of a receiver's URL that MAX accepts; raise ValueError with the reason for any other."""
    parts = urlsplit(url)
    if not url.isascii() or parts.username is not None or parts.fragment or not parts.hostname:
        raise ValueError("the URL must have the form https://host/webhook/max, in ASCII characters")
    if parts.scheme != "https":
        raise ValueError("MAX sends updates only over HTTPS")
    if parts.port not in (None, 443):
        raise ValueError("MAX sends updates only to port 443")
    if parts.path not in PATHS:
        raise ValueError("the path of the URL must be /webhook/max")
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


def stale_in(existing: Sequence[Subscription], url: str, hosts: Collection[str]) -> list[Subscription]:
    """Return the subscriptions of the receiver at our hosts, of any scheme and port, other than the wanted one."""
    stale = []
    for subscription in existing:
        try:
            parts = urlsplit(subscription.url)
        except ValueError:
            continue
        is_ours = parts.path in PATHS and any(is_same_domain(parts.hostname or "", host) for host in hosts)
        if is_ours and not _is(subscription, url):
            stale.append(subscription)
    return stale


def problems_in(existing: Sequence[Subscription], url: str, hosts: Collection[str]) -> list[Problem]:
    """Compare what MAX lists with the one subscription that should be there."""
    problems = []
    wanted = [subscription for subscription in existing if _is(subscription, url)]
    if not wanted:
        problems.append(Problem("subscription_lost", Message("MAX sends no updates to %(url)s", {"url": url})))
    for subscription in wanted:
        missing = set(UPDATE_TYPES) - subscription.update_types if subscription.update_types else ()
        if missing:
            message = Message("MAX does not send %(types)s", {"types": ", ".join(sorted(missing))})
            problems.append(Problem("subscription_incomplete", message))
    if len(wanted) > 1:
        params = {"url": url, "times": len(wanted)}
        message = Message("MAX sends every update %(times)d times to %(url)s", params)
        problems.append(Problem("subscription_doubled", message))
    for subscription in stale_in(existing, url, hosts):
        message = Message("MAX also sends every update to %(url)s", {"url": subscription.url})
        problems.append(Problem("subscription_stale", message))
    return problems


def subscription_problems() -> list[Problem]:
    """Compare MAX's list with WEBHOOK_PUBLIC_URL; return nothing when no bot or URL is configured."""
    if not settings.WEBHOOK_PUBLIC_URL or not settings.MAX_BOT_TOKEN:
        return []
    return problems_in(subscriptions(), canonical(settings.WEBHOOK_PUBLIC_URL), our_hosts())


def subscriptions() -> list[Subscription]:
    """Return what MAX lists for this bot; raise MaxError like all functions below."""
    return client.call("GET", "/subscriptions", _listed, deadline=client.new_deadline(), is_safe=True)


def _listed(answer: dict[str, Any]) -> list[Subscription]:
    return [
        Subscription(printable(item["url"]), _moment(item.get("time")), frozenset(item.get("update_types") or ()))
        for item in answer["subscriptions"]
    ]


def _moment(milliseconds: object) -> datetime | None:
    if isinstance(milliseconds, int) and 0 <= milliseconds <= _LATEST_MILLISECONDS:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    return None


def subscribe(url: str, *, replacing: Sequence[Subscription]) -> None:
    """Remove the subscriptions that are replaced, then add this one with the first secret and every update type."""
    body = {"url": canonical(url), "update_types": UPDATE_TYPES, "secret": first_secret()}
    for subscription in replacing:
        unsubscribe(subscription.url)
    # Not safe to retry: a second POST would add a second subscription, and every update would come twice.
    client.call("POST", "/subscriptions", bool, deadline=client.new_deadline(), json=body)


def unsubscribe(url: str) -> None:
    client.call("DELETE", "/subscriptions", bool, deadline=client.new_deadline(), params={"url": url})


def first_secret() -> str:
    if not settings.WEBHOOK_SECRETS:
        raise MaxError(_("WEBHOOK_SECRET is not set: anyone could send updates in MAX's name"), is_refused=True)
    return str(settings.WEBHOOK_SECRETS[0].decode())
