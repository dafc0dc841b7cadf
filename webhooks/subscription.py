"""Check and repair the bot's webhook subscriptions at MAX (docs/reference/max-api.md).

Without a subscription, MAX sends no updates; with a stale one beside the current one, it sends every update twice.
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
    """A subscription as MAX lists it. Empty ``update_types`` means all types; ``since`` is None if unknown."""

    url: str
    since: datetime | None
    update_types: frozenset[str]


class Problem(NamedTuple):
    """A problem with the subscriptions: an event name for the log, and a message. ``str()`` is always in English."""

    event: str
    message: Message

    def __str__(self) -> str:
        with translation.override("en"):
            return str(self.message)


def canonical(url: str) -> str:
    """Validate the URL of the webhook receiver and return it in normal form, without the port.

    Raise ValueError with the reason if MAX could not deliver to the URL or if its path is not served by the receiver.
    """
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
    """Return the hosts of this deployment, whose subscriptions may be removed.

    These are the ALLOWED_HOSTS, the host of WEBHOOK_PUBLIC_URL and the hosts in ``more``.
    """
    public = urlsplit(settings.WEBHOOK_PUBLIC_URL).hostname
    return {host.lower() for host in (*settings.ALLOWED_HOSTS, *more, public) if host and host != "*"}


def _is(subscription: Subscription, url: str) -> bool:
    try:
        return canonical(subscription.url) == url
    except ValueError:
        return False


def stale_in(existing: Sequence[Subscription], url: str, hosts: Collection[str]) -> list[Subscription]:
    """Return the existing subscriptions of our receiver, with any scheme and port, except those for ``url``.

    A subscription belongs to our receiver if its host is one of ``hosts`` and its path is one of the receiver's.
    """
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
    """Return how the existing subscriptions differ from the single wanted one, to ``url`` with all update types."""
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
    """Fetch the subscriptions from MAX and return their problems; raise MaxError.

    Return an empty list if WEBHOOK_PUBLIC_URL or MAX_BOT_TOKEN is not set.
    """
    if not settings.WEBHOOK_PUBLIC_URL or not settings.MAX_BOT_TOKEN:
        return []
    return problems_in(subscriptions(), canonical(settings.WEBHOOK_PUBLIC_URL), our_hosts())


def subscriptions() -> list[Subscription]:
    """Fetch the bot's subscriptions from MAX; raise MaxError."""
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
    """Remove the subscriptions in ``replacing``, then subscribe ``url`` to all update types; raise MaxError.

    The subscription uses the first secret in WEBHOOK_SECRET.
    """
    body = {"url": canonical(url), "update_types": UPDATE_TYPES, "secret": first_secret()}
    for subscription in replacing:
        unsubscribe(subscription.url)
    # Not safe to retry: a second POST would add a second subscription, and MAX would send every update twice.
    client.call("POST", "/subscriptions", bool, deadline=client.new_deadline(), json=body)


def unsubscribe(url: str) -> None:
    client.call("DELETE", "/subscriptions", bool, deadline=client.new_deadline(), params={"url": url})


def first_secret() -> str:
    if not settings.WEBHOOK_SECRETS:
        raise MaxError(_("WEBHOOK_SECRET is not set: anyone could send updates in MAX's name"), is_refused=True)
    return str(settings.WEBHOOK_SECRETS[0].decode())
