"""The monitored period: evidence about the rollout from before the last resume does not count.

Breaches, checks, comparisons, errors, evictions and synthetic updates are evidence. All code that counts them begins at
``monitored_since``; otherwise a problem that has been fixed would pause the rollout again right after the resume.

Remaining work and existing faults count even if they are older, because a resume does not end them. Examples are dead
letters, failed batches of a backfill, requests with a wrong secret, and waiting updates.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db.models import F
from django.utils import timezone

from profiles.rollout.models import Action, Change
from profiles.rollout.phases import PHASES

ALWAYS = datetime.min.replace(tzinfo=UTC)
# By how much the clocks of two hosts may differ.
_FUTURE = timedelta(minutes=5)


def monitored_since(window: timedelta | None = None, *, resumed_at: datetime | None = None) -> datetime:
    """Return the time of the last resume, or the start of the ``window`` that ends now if that is later.

    If there was no resume and no window is given, return ALWAYS, the earliest possible time. A caller that needs
    several windows passes the time of the last resume in ``resumed_at``, so that it is read once. If a clock has been
    set back, the last resume may be far in the future. It is then ignored, or no evidence would count until then.
    """
    now = timezone.now()
    if resumed_at is None:
        resumed_at = Change.objects.filter(action=Action.RESUME).values_list("at", flat=True).first() or ALWAYS
    if resumed_at > now + _FUTURE:
        resumed_at = ALWAYS
    return resumed_at if window is None else max(resumed_at, now - window)


def last_raise() -> datetime | None:
    """Return the time of the last increase of phase 3 or 4; None if there was none."""
    phases = PHASES[2:]
    moves = Change.objects.filter(after__percents__has_any_keys=phases).exclude(after__percents=F("before__percents"))
    move: Change
    for move in moves.iterator(chunk_size=50):
        before, after = move.before.get("percents", {}), move.after["percents"]
        if any(Decimal(after.get(name, 0)) > Decimal(before.get(name, 0)) for name in phases):
            return move.at
    return None
