"""The merge rule for names: for each field, the value from the later update wins.

Each field has its own timestamp, and the greater ``TimestampedValue`` wins. This makes merging commutative, associative
and idempotent: order of arrival, duplicates and parallel workers do not change the result.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple


class TimestampedValue(NamedTuple):
    """One field of an update. Values compare by ``is_real``, then ``observed_at``, then ``value`` (by code point).

    ``is_real`` is False for a first name from the deprecated field ``name``, which ranks below every real first name.
    ``value`` is ``""`` if the update states that the person has no such name.
    """

    is_real: bool
    observed_at: datetime
    value: str


@dataclass(frozen=True, slots=True)
class ProfileUpdate:
    """The names that one update contains about one person; a name that the update does not contain is None."""

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
        """Return both updates merged into one; if ``other`` changes no name, return this update.

        The merged update has the later ``received_at`` of the two.
        """
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
    """Return one merged update per person, in the order of user IDs, without updates that contain no name.

    All writers lock rows in this order, so that they cannot deadlock.
    """
    merged: dict[str, ProfileUpdate] = {}
    for update in updates:
        earlier = merged.get(update.user_id)
        merged[update.user_id] = earlier.merge(update) if earlier else update
    return [update for _user_id, update in sorted(merged.items()) if update.has_values]
