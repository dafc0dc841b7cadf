"""Detect that PostgreSQL was restored from a backup: it lacks the last change or erasure that is recorded in Redis.

The record is called the progress. A restored database has old switches and percentages, and lacks the tombstones of
later erasures.
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
    """Return PostgreSQL's progress: the rollout's revision, and ID and time of the last erasure and the last change.

    The keys of the times end with ``_at``; the times are in microseconds since the epoch.
    """
    found = {"revision": Rollout.current().revision}
    for name, model in _AUDITED.items():
        last = model.objects.order_by("-pk").first()
        found |= {name: last.pk, f"{name}_at": _at(last)} if last else {name: 0, f"{name}_at": 0}
    return found


def remember_progress() -> None:
    """Record PostgreSQL's progress (its last change and its last erasure) in Redis, unless PostgreSQL was restored.

    After a restore, overwriting the record would end the alert, because the loss could no longer be detected. Only the
    command accept_restore may end the alert.
    """
    now, before = lost_progress()
    if not before:
        cache.store_progress(now)


def lost_progress() -> tuple[dict[str, int], dict[str, int]]:
    """Return PostgreSQL's progress and the progress recorded in Redis.

    If PostgreSQL has lost no rows, ``{}`` stands for the latter.
    """
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
