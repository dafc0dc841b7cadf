"""The merge rule for names: a later update wins, field by field.

Each field has a time of its own, and the greater value wins. That makes merging commutative, associative and
idempotent: order of arrival, duplicates and parallel workers do not change the result.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple


class TimestampedValue(NamedTuple):
    """One field of an update, compared in this order, text by code point.

    ``is_real`` is false for a first name taken from the deprecated ``name``: it ranks below any real one.
    ``value`` is ``""`` where the update says that there is none.
    """

    is_real: bool
    observed_at: datetime
    value: str


@dataclass(frozen=True, slots=True)
class ProfileUpdate:
    """The fields that one update carries about one person; None for the others."""

    user_id: str
    received_at: datetime
    first_name: TimestampedValue | None = None
    last_name: TimestampedValue | None = None
    user_provided_name: TimestampedValue | None = None

    @property
    def values(self) -> tuple[TimestampedValue | None, ...]:
        return self.first_name, self.last_name, self.user_provided_name

    @property
    def has_values(self) -> bool:
        return any(self.values)

    @property
    def observed_at(self) -> datetime:
        return max((value.observed_at for value in self.values if value), default=self.received_at)

    def merge(self, other: "ProfileUpdate") -> "ProfileUpdate":
        """Return both as one; ``received_at`` moves only if ``other`` changes something."""
        merged = tuple(
            max(mine, theirs) if mine and theirs else mine or theirs
            for mine, theirs in zip(self.values, other.values, strict=True)
        )
        if merged == self.values:
            return self
        first_name, last_name, user_provided_name = merged
        return replace(
            self,
            received_at=max(self.received_at, other.received_at),
            first_name=first_name,
            last_name=last_name,
            user_provided_name=user_provided_name,
        )


def merge_all(updates: Iterable[ProfileUpdate]) -> list[ProfileUpdate]:
    """Return one update a person, ordered by user ID: all writers lock rows in this order, so none deadlock."""
    merged: dict[str, ProfileUpdate] = {}
    for update in updates:
        earlier = merged.get(update.user_id)
        merged[update.user_id] = earlier.merge(update) if earlier else update
    return [update for _user_id, update in sorted(merged.items()) if update.has_values]
