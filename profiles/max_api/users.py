"""Look people up by phone in MAX's direct API, within its rate limit (docs/reference/max-api.md).

The state of the rate limit and recent responses are in PostgreSQL, so that threads, processes and machines share them
without Redis. No statement may run inside a longer transaction, because its row lock would then block other callers.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection
from django.utils.translation import gettext_noop as _
from prometheus_client import Counter, Histogram
from requests import codes

from config.lib import clock
from config.postgres.base import COMMIT_LOCALLY, statement_deadline, without_standby
from profiles import names
from profiles.breaker import Breaker, BreakerOpen
from profiles.max_api import client
from profiles.max_api.client import MaxError, NoSuchPath
from profiles.max_api.models import DirectAnswer
from profiles.user_ids import user_id_of

# 29 requests a second: MAX allows 30, and their timing varies.
SPACING = timedelta(seconds=1) / 29
# By how much the clocks of a PostgreSQL server and its successor may differ.
CLOCK_ERROR = timedelta(seconds=1)
ABSENT_FOR = timedelta(minutes=5)
FOUND_FOR = timedelta(minutes=1)
# The deadline of the call may have passed when MAX asks for a pause.
_PAUSE_SECONDS = 1.0
_WAITING = _("a parallel request for this phone is still waiting for MAX")
_NO_TURN = _("the MAX rate limit allows no request before the deadline")
_RESULT = DirectAnswer.Result

calls = Counter("direct_api_calls", "Calls of the messenger's direct API", ["status"])
durations = Histogram(
    "direct_api_duration_seconds",
    "Calls of the messenger's direct API, failed ones included",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
# Only for the direct API: if MAX shuts it down, subscriptions must still be checked. ``reset`` is longer than
# MAX_API_TIMEOUT, so that the next probe starts only after the previous one has ended.
breaker = Breaker("direct_api", reset=max(5.0, 1.5 * settings.MAX_API_TIMEOUT.total_seconds()))

_CLAIM = f"""
INSERT INTO direct_answers AS a (phone, asked_at, outcome, user_id, first_name, last_name)
SELECT %(phone)s, clock_timestamp(), 'asking', '', '', '' WHERE {COMMIT_LOCALLY}
ON CONFLICT (phone) DO UPDATE SET asked_at = EXCLUDED.asked_at, outcome = 'asking'
WHERE a.outcome = 'failed' OR a.asked_at > clock_timestamp() + %(clock_error)s
    OR a.asked_at < clock_timestamp() - CASE a.outcome
    WHEN 'asking' THEN %(abandoned)s WHEN 'absent' THEN %(absent_for)s ELSE %(found_for)s END
RETURNING phone
"""
# A row from the future was stored while PostgreSQL's clock was ahead; nothing can be concluded from its times.
_FREE_AT = "CASE WHEN p.set_at > clock_timestamp() + %(clock_error)s THEN clock_timestamp() ELSE p.free_at END"
_TURN = f"""
INSERT INTO direct_api_pace AS p (id, free_at, set_at)
SELECT 1, clock_timestamp() + %(spacing)s, clock_timestamp() WHERE {COMMIT_LOCALLY}
ON CONFLICT (id) DO UPDATE
SET free_at = GREATEST({_FREE_AT}, clock_timestamp()) + %(spacing)s, set_at = EXCLUDED.set_at
WHERE {_FREE_AT} <= clock_timestamp() + %(patience)s
RETURNING EXTRACT(epoch FROM free_at - %(spacing)s - clock_timestamp())
"""  # noqa: S608 (constants)
_PAUSE = f"""
INSERT INTO direct_api_pace AS p (id, free_at, set_at)
SELECT 1, clock_timestamp() + %(pause)s, clock_timestamp() WHERE {COMMIT_LOCALLY}
ON CONFLICT (id) DO UPDATE SET free_at = GREATEST({_FREE_AT}, EXCLUDED.free_at), set_at = EXCLUDED.set_at
"""


@dataclass(frozen=True, slots=True)
class DirectUser:
    """A user that the direct API returned; a missing name is ``""``."""

    user_id: str
    first_name: str
    last_name: str


@without_standby()
def lookup_once(phone: str) -> DirectUser | None:
    """Return the MAX user with this canonical phone, or None; a response is reused for up to five minutes.

    Concurrent callers share one request: the first caller inserts a row for the phone and sends the request, and the
    others wait for the response in that row. Raise MaxError no later than MAX_API_TIMEOUT from now.
    """
    deadline = client.new_deadline()
    abandoned = settings.MAX_API_TIMEOUT + timedelta(seconds=1)
    ages = {"abandoned": abandoned, "absent_for": ABSENT_FOR, "found_for": FOUND_FOR}
    if not _execute(_CLAIM, deadline, _WAITING, phone=phone, **ages):
        return _wait_for_answer(phone, deadline)
    try:
        user = fetch_users([phone], deadline=deadline).get(phone)
    except MaxError:
        _share(phone, outcome=_RESULT.FAILED)
        raise
    _share(phone, **{"outcome": _RESULT.ABSENT} if user is None else {"outcome": _RESULT.FOUND, **asdict(user)})
    return user


def _share(phone: str, **values: Any) -> None:
    """Store the response for other callers, unless the row is locked until the deadline of the current block.

    This caller needs no row, and for the others the request then counts as abandoned.
    """
    with suppress(OperationalError):
        DirectAnswer.objects.filter(phone=phone).update(**values)


def _wait_for_answer(phone: str, deadline: float) -> DirectUser | None:
    pause = 0.01
    while True:
        with _ending_at(deadline, _WAITING):
            answer = DirectAnswer.objects.filter(phone=phone).first()
        if answer is None or answer.outcome == _RESULT.FAILED:
            raise MaxError(_("a parallel request for this phone failed"))
        if answer.outcome == _RESULT.ABSENT:
            return None
        if answer.outcome == _RESULT.FOUND:
            return DirectUser(answer.user_id, answer.first_name, answer.last_name)
        if time.monotonic() + pause > deadline:
            raise MaxError(_WAITING, is_timeout=True)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def fetch_users(phones: list[str], *, deadline: float | None = None) -> dict[str, DirectUser]:
    """Return MAX users by phone, for at most 100 canonical phones; phones without a user are left out.

    Raise MaxError if the token is missing, MAX fails or refuses the request, or the response is unexpected, no later
    than ``deadline`` (monotonic seconds; by default, MAX_API_TIMEOUT from now).
    """
    path, parse, body = settings.MAX_API_USERS_PATH, partial(_parse_users, phones), {"phone_numbers": phones}
    ends_at = deadline or client.new_deadline()
    try:
        users = client.call("POST", path, parse, deadline=ends_at, is_safe=True, around_attempt=_paced, json=body)
    except BreakerOpen:
        calls.labels("skipped").inc()
        text = _("the direct API failed several times in a row: requests are paused for a few seconds")
        raise MaxError(text) from None
    except MaxError:
        calls.labels("error").inc()
        raise
    calls.labels("found" if users else "absent").inc()
    return users


def is_served() -> bool:
    """Return whether MAX still has the direct API's path, by its response to a request without phones.

    A result or status 400 means that the path exists, 404 that it does not; raise MaxError for any other response. The
    request does not count in the breaker and the metrics, which are only about lookups.
    """
    path, deadline = settings.MAX_API_USERS_PATH, client.new_deadline()
    try:
        client.call("POST", path, dict, deadline=deadline, is_safe=True, json={"phone_numbers": []})
    except NoSuchPath:
        return False
    except MaxError as error:
        if error.message.params.get("status") != codes.bad_request:
            raise
    return True


@contextmanager
def _paced(deadline: float) -> Iterator[None]:
    """Wait until the rate limit allows a request, then run the block as one attempt; update the breaker and metrics.

    Raise MaxError if the rate limit allows no attempt before ``deadline``. If MAX throttles the attempt, pause the
    requests of all processes.
    """
    if breaker.state != "open":
        patience = timedelta(seconds=max(deadline - time.monotonic(), 0))
        row = _execute(_TURN, deadline, _NO_TURN, spacing=SPACING, patience=patience)
        if row is None:
            raise MaxError(_NO_TURN)
        time.sleep(max(float(row[0]), 0))
    try:
        with breaker.guard(MaxError), durations.time():
            yield
    except MaxError as error:
        if error.retry_after:
            with suppress(MaxError):
                ends_at = time.monotonic() + _PAUSE_SECONDS
                _execute(_PAUSE, ends_at, _NO_TURN, pause=timedelta(seconds=error.retry_after))
        raise


def _execute(statement: str, deadline: float, late: str, **params: Any) -> Any:
    """Run a statement; return its row, or None.

    Raise MaxError with the message ``late`` if others keep the row locked until ``deadline``.
    """
    with _ending_at(deadline, late), connection.cursor() as cursor:
        cursor.execute(statement, params | {"clock_error": CLOCK_ERROR})
        return cursor.fetchone() if cursor.description else None


@contextmanager
def _ending_at(deadline: float, late: str) -> Iterator[None]:
    """Run the block; raise MaxError with the message ``late`` if its statements do not end before ``deadline``."""
    try:
        with statement_deadline(max(deadline - time.monotonic(), 0)):
            yield
    except OperationalError:
        if time.monotonic() < deadline:
            raise
        raise MaxError(late, is_timeout=True) from None


def _parse_users(phones: list[str], answer: dict[str, Any]) -> dict[str, DirectUser]:
    if not isinstance(answer["users"], list):
        raise TypeError
    requested = {_digits(phone): phone for phone in phones}
    users: dict[str, DirectUser] = {}
    for user in answer["users"]:
        phone = requested.get(_digits(user.get("phone_number")))
        if phone and phone not in users and not user.get("is_bot"):
            full_name = (user.get("first_name"), user.get("last_name"))
            first_name, last_name = (names.clean(name) if isinstance(name, str) else "" for name in full_name)
            users[phone] = DirectUser(user_id_of(user.get("user_id")), first_name, last_name)
    return users


def _digits(value: object) -> str:
    return "".join(filter(str.isdigit, str(value)))


def delete_old_answers() -> int:
    """Delete responses that are too old to be reused, because they are personal data; return how many were deleted."""
    return DirectAnswer.objects.filter(clock.is_older("asked_at", ABSENT_FOR)).delete()[0]
