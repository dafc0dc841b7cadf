"""Ask MAX for people by their phones, at the pace it allows: the direct API (docs/reference/max-api.md).

The pace and the answers are kept in PostgreSQL: they hold across threads, processes and machines, and need no Redis.
Their statements commit at once; in a transaction they would keep everybody else waiting until its end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_noop as _
from prometheus_client import Counter, Histogram

from profiles import names
from profiles.breaker import Breaker, BreakerOpen
from profiles.max_api import client
from profiles.max_api.client import MaxError
from profiles.models import DirectAnswer
from profiles.user_ids import user_id_of

# 29 a second: 30 is the most that MAX allows, and clocks jitter.
SPACING = timedelta(seconds=1) / 29
ABSENT_FOR = timedelta(minutes=5)
FOUND_FOR = timedelta(minutes=1)
_RESULT = DirectAnswer.Result

calls = Counter("direct_api_calls", "Calls of the messenger's direct API", ["status"])
durations = Histogram(
    "direct_api_duration_seconds",
    "Calls of the messenger's direct API, failed ones included",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
# Of the direct API alone: it may go away for good, and subscriptions have to be watched all the same. A probe may take
# MAX_API_TIMEOUT, and there is no second one before it has reported back.
breaker = Breaker("direct_api", reset=max(5.0, 1.5 * settings.MAX_API_TIMEOUT.total_seconds()))

_CLAIM = """
INSERT INTO direct_answers AS a (phone, asked_at, outcome, user_id, first_name, last_name)
VALUES (%(phone)s, clock_timestamp(), 'asking', '', '', '')
ON CONFLICT (phone) DO UPDATE SET asked_at = EXCLUDED.asked_at, outcome = 'asking'
WHERE a.outcome = 'failed' OR a.asked_at < clock_timestamp() - CASE a.outcome
    WHEN 'asking' THEN %(abandoned)s WHEN 'absent' THEN %(absent_for)s ELSE %(found_for)s END
RETURNING phone
"""
_TURN = """
INSERT INTO direct_api_pace AS p (id, free_at) VALUES (1, clock_timestamp() + %(spacing)s)
ON CONFLICT (id) DO UPDATE SET free_at = GREATEST(p.free_at, clock_timestamp()) + %(spacing)s
WHERE p.free_at <= clock_timestamp() + %(patience)s
RETURNING EXTRACT(epoch FROM free_at - %(spacing)s - clock_timestamp())
"""
_REST = """
INSERT INTO direct_api_pace AS p (id, free_at) VALUES (1, clock_timestamp() + %(rest)s)
ON CONFLICT (id) DO UPDATE SET free_at = GREATEST(p.free_at, EXCLUDED.free_at)
"""


@dataclass(frozen=True, slots=True)
class DirectUser:
    """A person as the direct API knows them; names are ``""`` where it has none."""

    user_id: str
    first_name: str
    last_name: str


def lookup_once(phone: str) -> DirectUser | None:
    """Return the MAX user of a canonical phone, None when MAX has answered within minutes that there is none.

    All who want to know of a phone at once share one request: who inserts its row sends it, the others wait for the
    row. Raises MaxError within MAX_API_TIMEOUT, all waiting included.
    """
    deadline = client.new_deadline()
    abandoned = settings.MAX_API_TIMEOUT + timedelta(seconds=1)
    if not _execute(_CLAIM, phone=phone, abandoned=abandoned, absent_for=ABSENT_FOR, found_for=FOUND_FOR):
        return _wait_for_answer(phone, deadline)
    answer = DirectAnswer.objects.filter(phone=phone)
    try:
        user = fetch_users([phone], deadline=deadline).get(phone)
    except MaxError:
        answer.update(outcome=_RESULT.FAILED)
        raise
    answer.update(**{"outcome": _RESULT.ABSENT} if user is None else {"outcome": _RESULT.FOUND, **asdict(user)})
    return user


def _wait_for_answer(phone: str, deadline: float) -> DirectUser | None:
    pause = 0.01
    while True:
        answer = DirectAnswer.objects.filter(phone=phone).first()
        if answer is None or answer.outcome == _RESULT.FAILED:
            raise MaxError(_("another request asked MAX about this phone and got no answer"))
        if answer.outcome == _RESULT.ABSENT:
            return None
        if answer.outcome == _RESULT.FOUND:
            return DirectUser(answer.user_id, answer.first_name, answer.last_name)
        if time.monotonic() + pause > deadline:
            raise MaxError(_("another request still waits for MAX's answer about this phone"), is_timeout=True)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def fetch_users(phones: list[str], *, deadline: float | None = None) -> dict[str, DirectUser]:
    """Return the MAX users of at most 100 canonical phones by phone, those without one left out.

    Raises MaxError without a token, on an outage, a refusal or an unexpected answer, at the latest at ``deadline``
    (monotonic seconds; MAX_API_TIMEOUT from now where none is given).
    """
    path, read, body = settings.MAX_API_USERS_PATH, partial(_users_in, phones), {"phone_numbers": phones}
    ends_at = deadline or client.new_deadline()
    try:
        users = client.call("POST", path, read, deadline=ends_at, is_safe=True, each_try=_in_turn, json=body)
    except BreakerOpen:
        calls.labels("skipped").inc()
        raise MaxError(_("the direct API failed several times in a row and is not called for some seconds")) from None
    except MaxError:
        calls.labels("error").inc()
        raise
    calls.labels("found" if users else "absent").inc()
    return users


@contextmanager
def _in_turn(deadline: float) -> Iterator[None]:
    """Surround a try: wait for its turn, let breaker and metrics watch it, and all of us rest when MAX asks for it."""
    if breaker.state != "open":
        patience = timedelta(seconds=max(deadline - time.monotonic(), 0))
        row = _execute(_TURN, spacing=SPACING, patience=patience)
        if row is None:
            raise MaxError(_("the rate limit of MAX leaves no room for a request before the deadline"))
        time.sleep(max(float(row[0]), 0))
    try:
        with breaker.guard(MaxError), durations.time():
            yield
    except MaxError as error:
        if error.retry_after:
            _execute(_REST, rest=timedelta(seconds=error.retry_after))
        raise


def _execute(statement: str, **params: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchone() if cursor.description else None


def _users_in(phones: list[str], answer: dict[str, Any]) -> dict[str, DirectUser]:
    users = answer["users"]
    if not isinstance(users, list):
        raise TypeError
    asked = {_digits(phone): phone for phone in phones}
    found: dict[str, DirectUser] = {}
    for user in users:
        phone = asked.get(_digits(user.get("phone_number")))
        if phone and phone not in found and not user.get("is_bot"):
            first_name, last_name = _name_in(user, "first_name"), _name_in(user, "last_name")
            found[phone] = DirectUser(user_id_of(user.get("user_id")), first_name, last_name)
    return found


def _digits(value: object) -> str:
    return "".join(filter(str.isdigit, str(value)))


def _name_in(user: dict[str, Any], field: str) -> str:
    value = user.get(field)
    return names.clean(value) if isinstance(value, str) else ""


def forget_old() -> int:
    """Delete the answers that are no longer given; personal data is kept for minutes here."""
    return DirectAnswer.objects.filter(asked_at__lt=timezone.now() - ABSENT_FOR).delete()[0]
