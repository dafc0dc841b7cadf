"""Check and repair the bot's webhook subscriptions at MAX (docs/reference/max-api.md).

Without a subscription, MAX sends no updates; with a stale one beside the current one, it sends every update twice.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.utils import translation
from django.utils.http import is_same_domain
from django.utils.translation import gettext_noop as _

from config.lib.messages import Message
from profiles.max_api import client
from profiles.max_api.client import MaxError, printable
from webhooks.models import RefusedUpdateType
from webhooks.payloads import UPDATE_TYPES
from webhooks.receiver import PATHS

_SECRET = re.compile(r"[A-Za-z0-9_-]{5,256}")
_LATEST_MILLISECONDS = 253_402_300_799_999  # the year 9999


class Subscription(NamedTuple):
    """A subscription as MAX lists it. Empty ``update_types`` means all types; ``since`` is None if unknown."""

    url: str
    since: datetime | None
    update_types: frozenset[str]


class Problem(NamedTuple):
    """A problem with the subscriptions: an event name for the log, and a message (in English for ``str()``)."""

    event: str
    message: Message

    def __str__(self) -> str:
        with translation.override("en"):
            return str(self.message)


def canonical(url: str) -> str:
    """Validate the URL of the webhook receiver and return it in normal form, without port and trailing slash.

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
    return f"https://{parts.hostname}{parts.path.rstrip('/')}" + (f"?{parts.query}" if parts.query else "")


def our_hosts(*more: str) -> set[str]:
    """Return the hosts of this deployment, whose subscriptions may be removed.

    These are ALLOWED_HOSTS, the host of WEBHOOK_PUBLIC_URL, and the hosts in ``more``.
    """
    public = urlsplit(settings.WEBHOOK_PUBLIC_URL).hostname
    return {host.lower() for host in (*settings.ALLOWED_HOSTS, *more, public) if host and host != "*"}


def _is(subscription: Subscription, url: str) -> bool:
    try:
        return canonical(subscription.url) == url
    except ValueError:
        return False


def stale_in(existing: Sequence[Subscription], kept: str, hosts: Collection[str]) -> list[Subscription]:
    """Return our receiver's existing subscriptions, whatever their scheme and port, except those with the URL ``kept``.

    A subscription belongs to our receiver if its host is one of ``hosts`` and its path is one of the receiver's.
    """
    stale = []
    for subscription in existing:
        try:
            parts = urlsplit(subscription.url)
        except ValueError:
            continue
        is_ours = parts.path in PATHS and any(is_same_domain(parts.hostname or "", host) for host in hosts)
        if is_ours and subscription.url != kept:
            stale.append(subscription)
    return stale


def problems_in(existing: Sequence[Subscription], url: str, hosts: Collection[str]) -> list[Problem]:
    """Return the problems with the subscriptions: there should be exactly one, for ``url`` and all update types.

    Update types that MAX has refused do not count as missing.
    """
    problems, refused = [], set(RefusedUpdateType.objects.values_list("name", flat=True))
    wanted = [subscription for subscription in existing if _is(subscription, url)]
    if not wanted:
        problems.append(Problem("subscription_lost", Message("MAX sends no updates to %(url)s", {"url": url})))
    for subscription in wanted:
        missing = set(UPDATE_TYPES) - subscription.update_types - refused if subscription.update_types else ()
        if missing:
            message = Message("MAX does not send %(types)s", {"types": ", ".join(sorted(missing))})
            problems.append(Problem("subscription_incomplete", message))
    if len(wanted) > 1:
        params = {"url": url, "times": len(wanted)}
        message = Message("MAX sends every update %(times)d times to %(url)s", params)
        problems.append(Problem("subscription_doubled", message))
    for subscription in stale_in([other for other in existing if other not in wanted], url, hosts):
        message = Message("MAX also sends every update to %(url)s", {"url": subscription.url})
        problems.append(Problem("subscription_stale", message))
    return problems


def subscription_problems() -> list[Problem]:
    """Fetch the subscriptions from MAX and return their problems; raise MaxError if MAX cannot be queried.

    Return an empty list if WEBHOOK_PUBLIC_URL or MAX_BOT_TOKEN is not set.
    """
    if not settings.WEBHOOK_PUBLIC_URL or not settings.MAX_BOT_TOKEN:
        return []
    return problems_in(subscriptions(), canonical(settings.WEBHOOK_PUBLIC_URL), our_hosts())


def subscriptions() -> list[Subscription]:
    """Fetch the bot's subscriptions from MAX; raise MaxError if the request fails."""
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


def repair(
    existing: Sequence[Subscription], url: str, hosts: Collection[str], *, is_renewed: bool = False
) -> Iterator[str]:
    """Subscribe the canonical ``url`` unless it is subscribed, then remove our other subscriptions.

    Yield a line for each action; if a removal fails, raise MaxError after the remaining removals. With ``is_renewed``,
    subscribe even if the URL is subscribed, so that MAX uses the first secret in WEBHOOK_SECRET from now on. Other
    subscriptions are removed only after MAX has accepted the new one.
    """
    spellings = sorted((other.url for other in existing if _is(other, url)), key=url.__ne__)
    if is_renewed or not spellings:
        yield from _subscribe(url)
        spellings = [url]
    failure = None
    for subscription in stale_in(existing, spellings[0], hosts):
        try:
            unsubscribe(subscription.url)
            yield f"Removed {subscription.url}"
        except MaxError as error:
            failure = error
            yield f"Not removed: {subscription.url}: {error}"
    if failure:
        raise failure


def _subscribe(url: str) -> Iterator[str]:
    """Subscribe to all update types but those that MAX refuses; yield a line for each refused type, then the result."""
    body = {"url": url, "secret": first_secret()}
    types, refused, last_error = list(UPDATE_TYPES), list[str](), ""
    while True:
        # Without a list of types, MAX sends all of them.
        fields: dict[str, Any] = body | {"update_types": types} if types else body
        try:
            # Not safe to retry: a second POST would add a second subscription, and MAX would send every update twice.
            client.call("POST", "/subscriptions", bool, deadline=client.new_deadline(), json=fields)
            break
        except MaxError as error:
            name = _refused_type(str(error), types) if error.is_refused and types else None
            if name is None:
                if not error.is_refused:
                    yield f"MAX may have subscribed {url} or not: run max_subscription list."
                raise
            if name and str(error) != last_error:
                types.remove(name)
                refused.append(name)
                yield f"MAX refuses the update type {name}, which is left out"
            else:
                types, refused = [], []
                yield "MAX refuses the list of update types, which is left out, so that MAX sends all types"
            last_error = str(error)
    with transaction.atomic():
        RefusedUpdateType.objects.all().delete()
        RefusedUpdateType.objects.bulk_create(RefusedUpdateType(name=name) for name in refused)
    yield f"Subscribed {url} to {'the other' if refused else 'all'} update types, with a secret"


def _refused_type(error: str, types: list[str]) -> str | None:
    """Return the update type that MAX refuses; ``""`` if the error does not say which, None if it is not about types.

    MAX does not document this error. If the error lists all types, beginning with the first one, it only quotes the
    request, and does not say which type is refused.
    """
    named: list[str] = re.findall(rf"\b(?:{'|'.join(types)})\b", error)
    if named and (named[0] != types[0] or set(named) != set(types)):
        return named[0]
    return "" if named or "update_type" in error else None


def unsubscribe(url: str) -> None:
    client.call("DELETE", "/subscriptions", bool, deadline=client.new_deadline(), params={"url": url})


def first_secret() -> str:
    """Return the secret to give to MAX; raise MaxError if there is none, or if MAX would not accept it."""
    if not settings.WEBHOOK_SECRETS:
        raise MaxError(_("WEBHOOK_SECRET is not set: anyone could send updates and pretend to be MAX"), is_refused=True)
    secret = str(settings.WEBHOOK_SECRETS[0].decode(errors="replace"))
    if not _SECRET.fullmatch(secret):
        raise MaxError(_("MAX accepts only a WEBHOOK_SECRET of 5 to 256 characters A-Z a-z 0-9 _ -"), is_refused=True)
    return secret
