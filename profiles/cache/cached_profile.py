"""A profile in the form of the cache and the API."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.utils import timezone

from profiles import names
from profiles.models import Profile, ProfileSource
from profiles.name_rule import is_fresh_at

_FUTURE = timedelta(days=1)
# json.dumps() would build a new encoder for each profile.
_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class CachedProfile:
    """A profile in the form of Redis and the API: a missing name is ``""``, ``last_updated`` has a time zone."""

    user_id: str
    max_first_name: str
    max_last_name: str
    user_provided_name: str
    last_updated: datetime | None
    source: str

    @classmethod
    def of(cls, profile: Profile) -> CachedProfile:
        return cls(
            user_id=profile.user_id,
            max_first_name=profile.first_name or "",
            max_last_name=profile.last_name or "",
            user_provided_name=profile.user_provided_name or "",
            last_updated=profile.last_updated,
            source=profile.source,
        )

    @classmethod
    def unknown(cls, user_id: str) -> CachedProfile:
        return cls(user_id, "", "", "", None, ProfileSource.DEFAULT)

    @classmethod
    def from_json(cls, text: bytes, user_id: str) -> CachedProfile | None:
        """Return the profile in a Redis value; None if the value is invalid or belongs to another person.

        Invalid values come from other programs, operators or damaged snapshots.
        """
        try:
            fields = json.loads(text.decode())
            profile = cls(**fields | {"last_updated": datetime.fromisoformat(fields["last_updated"])})
            own_name, at = profile.user_provided_name, profile.last_updated
            values = (profile.max_first_name, profile.max_last_name, own_name)
            # Encoding fails for lone surrogates, and the conversion for dates that are out of range in UTC.
            are_names = all(len(name.encode().decode()) <= names.NAME_LENGTH and "\0" not in name for name in values)
            is_past = at is not None and at.tzinfo is not None and at.astimezone(UTC) <= timezone.now() + _FUTURE
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        source = ProfileSource.USER_INPUT if own_name else ProfileSource.WEBHOOK
        is_valid = are_names and is_past and (profile.user_id, profile.source) == (user_id, source)
        return profile if is_valid else None

    def to_json(self) -> str:
        at = self.last_updated
        text = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z") if at else None
        fields = {name: getattr(self, name) for name in self.__slots__}
        return _encode(fields | {"last_updated": text})

    @property
    def display_name(self) -> str:
        return names.display(self.user_provided_name, self.max_first_name, self.max_last_name)

    @property
    def has_full_name(self) -> bool:
        return bool(self.user_provided_name or (self.max_first_name and self.max_last_name))

    @property
    def is_stale(self) -> bool:
        return not is_fresh_at(timezone.now(), self.last_updated, settings.PROFILE_TTL)
