"""Profiles for tests."""

import json
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from redis import Redis

from profiles import cache
from profiles.merge import ProfileUpdate, TimestampedValue
from profiles.models import Profile


def add_profile(
    user_id: str,
    first_name: str | None = "Иван",
    last_name: str | None = "Петров",
    own_name: str | None = None,
    *,
    at: datetime | None = None,
    age: timedelta = timedelta(),
    is_cached: bool = True,
) -> Profile:
    """Store a profile by an update, and in Redis too unless ``is_cached`` is false."""
    at = at or timezone.now() - age
    (profile,) = Profile.objects.merge(
        [
            ProfileUpdate(
                user_id,
                at,
                first_name=TimestampedValue(True, at, first_name) if first_name is not None else None,
                last_name=TimestampedValue(True, at, last_name) if last_name is not None else None,
                user_provided_name=TimestampedValue(True, at, own_name) if own_name is not None else None,
            )
        ]
    )
    if is_cached:
        cache.write([profile])
    return profile


def cached(redis: Redis, user_id: str) -> Any:
    """Return the person's entry in Redis, parsed."""
    text = redis.get(f"profile:user:{user_id}")
    assert isinstance(text, bytes)
    return json.loads(text)
