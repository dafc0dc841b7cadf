"""Call the messenger's direct API, the legacy path from a phone to a name (docs/reference/max-api.md).

Only this module knows its address and its JSON.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import requests
import stamina
import urllib3
from django.conf import settings
from django.utils.translation import gettext_noop as _
from prometheus_client import Counter, Histogram

from profiles import names
from profiles.breaker import Breaker, BreakerOpen
from profiles.identity import user_id_of

calls = Counter("direct_api_calls", "Calls of the messenger's direct API", ["status"])
durations = Histogram(
    "direct_api_duration_seconds",
    "Calls of the messenger's direct API, failed ones included",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
# A probe may take MAX_API_TIMEOUT: no second one before it has reported back.
breaker = Breaker("direct_api", reset=max(5.0, 1.5 * settings.MAX_API_TIMEOUT.total_seconds()))

_LARGEST_ANSWER = 1024 * 1024
_LONGEST_REST = 3600.0
_session = requests.Session()


class DirectApiError(Exception):
    """The direct API gave no usable answer: nothing is known about the person, not even that there is none.

    Its text is a class, “status 429” or a sentence; profiles.failures reads it to people.
    """


@dataclass(frozen=True, slots=True)
class DirectUser:
    """A person as the direct API knows them; names are ``""`` where it has none."""

    user_id: str
    first_name: str
    last_name: str


class Throttled(DirectApiError):
    """The direct API wants to be left alone for so many seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("status 429")
        self.retry_after = retry_after


def find_user(phone: str) -> DirectUser | None:
    """Return the MAX user of a canonical phone, None when MAX says that there is none; else as find_users."""
    return find_users([phone]).get(phone)


def find_users(phones: list[str], *, deadline: float | None = None) -> dict[str, DirectUser]:
    """Return the MAX users of at most 100 canonical phones, those without one left out.

    Raises DirectApiError without a token, on an outage, a refusal or an answer that makes no sense, at the latest at
    ``deadline`` (monotonic seconds; MAX_API_TIMEOUT from now where none is given).
    """
    if not settings.MAX_BOT_TOKEN:
        # Nobody would answer, and the phones would have left all the same.
        raise DirectApiError(_("the direct API is not asked: MAX_BOT_TOKEN is not set"))
    deadline = deadline or time.monotonic() + settings.MAX_API_TIMEOUT.total_seconds()
    try:
        with breaker.guard(DirectApiError), durations.time():
            users = _users_in(_ask(phones, deadline), phones)
    except BreakerOpen:
        calls.labels("skipped").inc()
        raise DirectApiError(_("the direct API is taken to be down")) from None
    except DirectApiError:
        calls.labels("error").inc()
        raise
    calls.labels("found" if users else "absent").inc()
    return users


def _ask(phones: list[str], deadline: float) -> Any:
    try:
        # A kept connection that the other side has closed meanwhile says nothing about the person: once more.
        for attempt in stamina.retry_context(on=_was_dropped, attempts=2, wait_initial=0, wait_jitter=0):
            with attempt:
                return _ask_once(phones, deadline)
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError, RecursionError) as error:
        raise DirectApiError(type(error).__name__) from error


def _was_dropped(error: Exception) -> bool:
    return isinstance(error, requests.ConnectionError) and isinstance(
        next(iter(error.args), None), urllib3.exceptions.ProtocolError
    )


def _ask_once(phones: list[str], deadline: float) -> Any:
    left = deadline - time.monotonic()
    if left <= 0:
        raise DirectApiError(_("no time is left to ask"))
    response = _session.post(
        settings.MAX_API_URL.rstrip("/") + settings.MAX_API_USERS_PATH,
        json={"phone_numbers": phones},
        headers={"Authorization": settings.MAX_BOT_TOKEN, "Accept-Encoding": "identity"},
        timeout=left,
        verify=settings.MAX_API_CA_BUNDLE or True,
        allow_redirects=False,
        stream=True,
    )
    with response:
        if response.status_code == requests.codes.too_many_requests:
            raise Throttled(_retry_after(response))
        if response.status_code != requests.codes.ok:
            raise DirectApiError(f"status {response.status_code}")
        return json.loads(_body(response, deadline))


def _retry_after(response: requests.Response) -> float:
    """Read the seconds of Retry-After; a date or nothing counts as one second (429 is documented without it)."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_REST) if text.isascii() and text.isdigit() else 1.0


def _body(response: requests.Response, deadline: float) -> bytes:
    """Read the answer under one deadline: the timeout of requests is one a read, and a slow drip never meets it."""
    body = b""
    # read1 returns what has come; iter_content would wait until a chunk is full.
    while chunk := response.raw.read1(16 * 1024):
        body += chunk
        if len(body) > _LARGEST_ANSWER:
            raise DirectApiError(_("the answer is larger than 1 MiB"))
        if time.monotonic() > deadline:
            raise DirectApiError(_("the answer took too long"))
    return body


def _users_in(answer: Any, phones: list[str]) -> dict[str, DirectUser]:
    users = answer.get("users") if isinstance(answer, dict) else None
    if not isinstance(users, list):
        raise DirectApiError(_("the answer has no list of users"))
    asked = {_digits(phone): phone for phone in phones}
    found: dict[str, DirectUser] = {}
    for user in users:
        phone = asked.get(_digits(user.get("phone_number"))) if isinstance(user, dict) else None
        if phone and phone not in found and not user.get("is_bot"):
            found[phone] = DirectUser(_id_in(user), _name_in(user, "first_name"), _name_in(user, "last_name"))
    return found


def _digits(value: object) -> str:
    return "".join(filter(str.isdigit, str(value)))


def _id_in(user: dict[str, Any]) -> str:
    try:
        return user_id_of(user.get("user_id"))
    except ValueError as error:
        raise DirectApiError(_("the answer has a user without an id")) from error


def _name_in(user: dict[str, Any], field: str) -> str:
    value = user.get(field)
    return names.clean(value) if isinstance(value, str) else ""
