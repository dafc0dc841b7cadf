"""The merge rule: what updates say of a person, and which of two sayings holds.

A name field is a claim with a clock of its own. The greater claim holds, so merging is commutative, associative and
idempotent: the order in which updates arrive, repeats and parallel workers cannot change the outcome.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple


class TimestampedValue(NamedTuple):
    """One field as an update says it; compared in this order, text by code point.

    ``is_real`` is false for a first name taken from the deprecated ``name``: it ranks below any real one.
    ``value`` is ``""`` where the update says that there is none.
    """

    is_real: bool
    observed_at: datetime
    value: str


@dataclass(frozen=True, slots=True)
class ProfileUpdate:
    """What one update says of one person. A field that it does not carry is None and moves no clock."""

    user_id: str
    received_at: datetime
    first_name: TimestampedValue | None = None
    last_name: TimestampedValue | None = None
    user_provided_name: TimestampedValue | None = None

    @property
    def has_values(self) -> bool:
        return any(self.claims)

    @property
    def observed_at(self) -> datetime:
        return max((claim.observed_at for claim in self.claims if claim), default=self.received_at)

    @property
    def claims(self) -> tuple[TimestampedValue | None, TimestampedValue | None, TimestampedValue | None]:
        return self.first_name, self.last_name, self.user_provided_name

    def merge(self, other: "ProfileUpdate") -> "ProfileUpdate":
        """Return both as one; ``received_at`` moves only when ``other`` changed something."""
        merged = [_greater(mine, theirs) for mine, theirs in zip(self.claims, other.claims, strict=True)]
        if merged == list(self.claims):
            return self
        return replace(
            self,
            received_at=max(self.received_at, other.received_at),
            first_name=merged[0],
            last_name=merged[1],
            user_provided_name=merged[2],
        )


def _greater(mine: TimestampedValue | None, theirs: TimestampedValue | None) -> TimestampedValue | None:
    if mine is None or theirs is None:
        return mine or theirs
    return max(mine, theirs)


def merge_all(updates: Iterable[ProfileUpdate]) -> list[ProfileUpdate]:
    """Merge to one sighting a person, ordered by user id (all writers lock rows in this order: no deadlock)."""
    people: dict[str, ProfileUpdate] = {}
    for update in updates:
        known = people.get(update.user_id)
        people[update.user_id] = known.merge(update) if known else update
    return [people[user_id] for user_id in sorted(people) if people[user_id].has_values]
