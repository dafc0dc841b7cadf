"""Detect that PostgreSQL was restored from a backup, by comparing its counters with their highest values in Redis.

A restored database has old switches and percentages, and lacks the tombstones of later erasures.
"""

from django.db.models import Max

from profiles import cache
from profiles.models import Erasure
from profiles.rollout.models import Rollout


def progress() -> dict[str, int]:
    """Return the counters in PostgreSQL that only grow: the rollout's revision and the ID of the last erasure."""
    last_erasure = Erasure.objects.aggregate(last=Max("pk"))["last"]
    return {"revision": Rollout.current().revision, "erasures": last_erasure or 0}


def remember_progress() -> None:
    cache.remember(progress())


def lost_progress() -> tuple[dict[str, int], dict[str, int]]:
    """Return the current counters, and those in Redis if one of them is higher (otherwise an empty dict)."""
    now, before = progress(), cache.progress()
    return now, before if any(before.get(name, 0) > count for name, count in now.items()) else {}
