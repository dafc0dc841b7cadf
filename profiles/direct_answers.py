"""One question to the direct API for all who want to know of one phone at once, at the pace it allows.

Kept in PostgreSQL, so it holds across threads, processes and machines and needs no Redis: who inserts the row of a
phone asks, the others wait for the row. The statements commit at once; call this outside of a transaction.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import stamina
from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from profiles import direct_api
from profiles.direct_api import DirectApiError, DirectUser, Throttled
from profiles.models import DirectAnswer

# 29 a second: 30 is the most that the messenger allows, and clocks jitter.
SPACING = timedelta(seconds=1) / 29
ABSENT_FOR = timedelta(minutes=5)
FOUND_FOR = timedelta(minutes=1)
_OUTCOME = DirectAnswer.Outcome

_CLAIM = """
INSERT INTO direct_answers AS a (phone, asked_at, outcome, user_id, first_name, last_name)
VALUES (%(phone)s, clock_timestamp(), 'asking', '', '', '')
ON CONFLICT (phone) DO UPDATE SET asked_at = EXCLUDED.asked_at, outcome = 'asking'
WHERE a.outcome = 'failed' OR a.asked_at < clock_timestamp() - CASE a.outcome
    WHEN 'asking' THEN %(abandoned)s WHEN 'absent' THEN %(absent_for)s ELSE %(found_for)s END
RETURNING phone
"""
_SLOT = """
INSERT INTO direct_api_pace AS p (id, free_at) VALUES (1, clock_timestamp() + %(spacing)s)
ON CONFLICT (id) DO UPDATE SET free_at = GREATEST(p.free_at, clock_timestamp()) + %(spacing)s
WHERE p.free_at <= clock_timestamp() + %(patience)s
RETURNING EXTRACT(epoch FROM free_at - %(spacing)s - clock_timestamp())
"""
_REST = """
INSERT INTO direct_api_pace AS p (id, free_at) VALUES (1, clock_timestamp() + %(rest)s)
ON CONFLICT (id) DO UPDATE SET free_at = GREATEST(p.free_at, EXCLUDED.free_at)
"""


def find_user(phone: str) -> DirectUser | None:
    """Return the MAX user of a canonical phone, None when MAX says (or said within minutes) that there is none.

    Raises DirectApiError within MAX_API_TIMEOUT: one deadline over waiting, asking and asking again.
    """
    deadline = time.monotonic() + settings.MAX_API_TIMEOUT.total_seconds()
    if not _claim(phone):
        return _wait_for_answer(phone, deadline)
    try:
        user = find_users([phone], deadline).get(phone)
    except DirectApiError:
        _answer(phone, outcome=_OUTCOME.FAILED)
        raise
    if user is None:
        _answer(phone, outcome=_OUTCOME.ABSENT)
    else:
        _answer(phone, outcome=_OUTCOME.FOUND, **{name: getattr(user, name) for name in DirectUser.__slots__})
    return user


def find_users(phones: list[str], deadline: float) -> dict[str, DirectUser]:
    """Ask about at most 100 phones when it is our turn; raise DirectApiError when the turn is past the deadline."""

    def fits(error: Exception) -> bool | float:
        if not isinstance(error, Throttled) or error.retry_after > deadline - time.monotonic():
            return False
        return error.retry_after

    for attempt in stamina.retry_context(on=fits, attempts=3, timeout=settings.MAX_API_TIMEOUT):
        with attempt:
            _take_turn(deadline)
            try:
                return direct_api.find_users(phones, deadline=deadline)
            except Throttled as error:
                _execute(_REST, rest=timedelta(seconds=error.retry_after))
                raise
    raise AssertionError("stamina returns or raises")


def _take_turn(deadline: float) -> None:
    if direct_api.breaker.state == "open":
        return
    patience = max(deadline - time.monotonic(), 0)
    row = _execute(_SLOT, spacing=SPACING, patience=timedelta(seconds=patience))
    if row is None:
        raise DirectApiError(_("its turn would come too late"))
    time.sleep(max(float(row[0]), 0))


def _claim(phone: str) -> bool:
    abandoned = settings.MAX_API_TIMEOUT + timedelta(seconds=1)
    return bool(_execute(_CLAIM, phone=phone, abandoned=abandoned, absent_for=ABSENT_FOR, found_for=FOUND_FOR))


def _wait_for_answer(phone: str, deadline: float) -> DirectUser | None:
    pause = 0.01
    while True:
        answer = DirectAnswer.objects.filter(phone=phone).first()
        if answer is None or answer.outcome == _OUTCOME.FAILED:
            raise DirectApiError(_("the one who asked got no answer"))
        if answer.outcome == _OUTCOME.ABSENT:
            return None
        if answer.outcome == _OUTCOME.FOUND:
            return DirectUser(answer.user_id, answer.first_name, answer.last_name)
        if time.monotonic() + pause > deadline:
            raise DirectApiError(_("the one who asked has no answer yet"))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def _answer(phone: str, **fields: Any) -> None:
    DirectAnswer.objects.filter(phone=phone).update(**fields)


def forget_old() -> int:
    """Delete the answers that are no longer given; personal data is kept for minutes here."""
    return DirectAnswer.objects.filter(asked_at__lt=timezone.now() - ABSENT_FOR).delete()[0]


def _execute(statement: str, **params: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchone() if cursor.description else None
