"""The messenger's direct API, the legacy path to a name: asks for a person by phone (contract §7).

Only this module knows its address and its JSON.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from django.conf import settings
from prometheus_client import Counter

from profiles import names
from profiles.breaker import Breaker, BreakerOpen
from profiles.identity import user_id_of

calls = Counter("direct_api_calls", "Calls of the messenger's direct API", ["status"])
breaker = Breaker()

_LARGEST_ANSWER = 1024 * 1024
_session = requests.Session()


class DirectApiError(Exception):
    """The direct API gave no usable answer: nothing is known about the person, not even that there is none."""


@dataclass(frozen=True, slots=True)
class DirectUser:
    """A person as the direct API knows them; names are ``""`` where it has none."""

    user_id: str
    first_name: str
    last_name: str


def find_user(phone: str) -> DirectUser | None:
    """Return the MAX user of a canonical phone, None when MAX says that there is none.

    Raises DirectApiError within MAX_API_TIMEOUT on an outage, a refusal or an answer that makes no sense.
    """
    try:
        with breaker.guard(DirectApiError):
            user = _user_in(_ask(phone), phone)
    except BreakerOpen:
        calls.labels("skipped").inc()
        raise DirectApiError("the direct API is taken to be down") from None
    except DirectApiError:
        calls.labels("error").inc()
        raise
    calls.labels("found" if user else "absent").inc()
    return user


def _ask(phone: str) -> Any:
    deadline = time.monotonic() + settings.MAX_API_TIMEOUT.total_seconds()
    try:
        response = _session.post(
            settings.MAX_API_URL.rstrip("/") + settings.MAX_API_USERS_PATH,
            json={"phone_numbers": [phone]},
            headers={"Authorization": settings.MAX_BOT_TOKEN, "Accept-Encoding": "identity"},
            timeout=settings.MAX_API_TIMEOUT.total_seconds(),
            verify=settings.MAX_API_CA_BUNDLE or True,
            allow_redirects=False,
            stream=True,
        )
        with response:
            if response.status_code != requests.codes.ok:
                raise DirectApiError(f"status {response.status_code}")
            return json.loads(_body(response, deadline))
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError, RecursionError) as error:
        raise DirectApiError(type(error).__name__) from error


def _body(response: requests.Response, deadline: float) -> bytes:
    """Read the answer under one deadline: the timeout of requests is one a read, and a slow drip never meets it."""
    body = b""
    # read1 returns what has come; iter_content would wait until a chunk is full.
    while chunk := response.raw.read1(16 * 1024):
        body += chunk
        if len(body) > _LARGEST_ANSWER:
            raise DirectApiError("the answer is larger than 1 MiB")
        if time.monotonic() > deadline:
            raise DirectApiError("the answer took too long")
    return body


def _user_in(answer: Any, phone: str) -> DirectUser | None:
    users = answer.get("users") if isinstance(answer, dict) else None
    if not isinstance(users, list):
        raise DirectApiError("the answer has no list of users")
    for user in users:
        if isinstance(user, dict) and _digits(user.get("phone_number")) == _digits(phone) and not user.get("is_bot"):
            return DirectUser(_id_in(user), _name_in(user, "first_name"), _name_in(user, "last_name"))
    return None


def _digits(value: object) -> str:
    return "".join(filter(str.isdigit, str(value)))


def _id_in(user: dict[str, Any]) -> str:
    try:
        return user_id_of(user.get("user_id"))
    except ValueError as error:
        raise DirectApiError("the answer has a user without an id") from error


def _name_in(user: dict[str, Any], field: str) -> str:
    value = user.get(field)
    return names.clean(value) if isinstance(value, str) else ""
