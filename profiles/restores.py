"""Detect that PostgreSQL was restored from a backup, by comparing its progress with the progress stored in Redis.

A restored database has old switches and percentages, and lacks the tombstones of later erasures.
"""

from typing import Any

from profiles import cache
from profiles.models import Erasure
from profiles.rollout.models import Change, Rollout

# The counters that are shown to people.
COUNTERS = ("revision", "erasures")
# Audit rows, which are never edited or deleted. After a restore, a new row may have the ID of a lost one, but its time
# differs.
_AUDITED: dict[str, Any] = {"erasures": Erasure, "changes": Change}


def progress() -> dict[str, int]:
    """Return the rollout's revision, and the IDs and times (``…_at``, microseconds) of the last erasure and change."""
    found = {"revision": Rollout.current().revision}
    for name, model in _AUDITED.items():
        last = model.objects.order_by("-pk").first()
        found |= {name: last.pk, f"{name}_at": _at(last)} if last else {name: 0, f"{name}_at": 0}
    return found


def remember_progress() -> None:
    """Store the progress in Redis unless the database was restored: only accept_restore ends the alert about that."""
    now, before = lost_progress()
    if not before:
        cache.store_progress(now)


def lost_progress() -> tuple[dict[str, int], dict[str, int]]:
    """Return the current progress and, if PostgreSQL has lost rows, the progress stored in Redis, otherwise ``{}``."""
    # Read Redis first: a row that another process adds between the two reads must not look like a loss.
    before = cache.progress()
    now = progress()
    is_lost = before.get("revision", 0) > now["revision"] or not all(_has_row(name, before) for name in _AUDITED)
    return now, before if is_lost else {}


def _has_row(name: str, before: dict[str, int]) -> bool:
    row = _AUDITED[name].objects.filter(pk=before.get(name, 0)).first()
    if row is None:
        return not before.get(name)
    # The previous release does not store times.
    return before.get(f"{name}_at", _at(row)) == _at(row)


def _at(row: Any) -> int:
    microseconds: int = round(row.at.timestamp() * 1_000_000)
    return microseconds
