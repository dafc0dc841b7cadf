"""System checks of the deployment; those that need files or servers run only with ``check --deploy``."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's name)

from config.lib import redis_connection

_POSITIVE = ("PROFILE_TTL", "PROFILE_CACHE_TIMEOUT", "MAX_API_TIMEOUT")


@register
def check_durations(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    hint = "Set a duration above zero, such as 720h, 3s or 5m."
    invalid = [name for name in _POSITIVE if getattr(settings, name) <= timedelta(0)]
    return [Error(f"{name} is not positive.", hint=hint, id="profiles.E001") for name in invalid]


@register(deploy=True)
def check_ca_bundle(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    path = settings.MAX_API_CA_BUNDLE
    if not path or Path(path).exists():
        return []
    text = "MAX_API_CA_BUNDLE is not a file: every call of MAX would fail."
    return [Error(text, hint=f"Put the file at {path}, or unset the variable.", id="profiles.E003")]


@register(deploy=True)
def check_broker(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Return an error if the broker may evict tasks, or a warning if it shares a Redis server with the profile cache.

    Only the cache may evict keys, so one server cannot suit both.
    """
    url = settings.CELERY_BROKER_URL
    if not url.startswith(("redis", "unix")):
        return []
    try:
        with redis_connection.client(url, seconds=2) as client:
            policy = str(client.info("memory").get("maxmemory_policy", ""))
    except redis.RedisError:
        policy = ""
    hint = "Give CELERY_BROKER_URL a server of its own with maxmemory-policy noeviction."
    if policy.startswith("allkeys"):
        return [Error(f"The broker may evict tasks: its maxmemory-policy is {policy}.", hint=hint, id="profiles.E002")]
    if redis_connection.address(url) == redis_connection.address(settings.REDIS_URL):
        return [Warning("The broker and the profile cache share one server.", hint=hint, id="profiles.W001")]
    return []
