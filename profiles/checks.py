"""Deployments that start and would do harm: ``manage.py check``, and with ``--deploy`` what has to ask the servers."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's name)
from redis.connection import parse_url

_POSITIVE = ("PROFILE_TTL", "PROFILE_CACHE_TIMEOUT", "MAX_API_TIMEOUT")


@register
def durations_are_positive(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"{name} is not positive: nothing would be cached, or asked.", hint="PROFILE_TTL=720h", id="profiles.E001"
        )
        for name in _POSITIVE
        if getattr(settings, name) <= timedelta(0)
    ]


@register(deploy=True)
def authorities_are_there(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    path = settings.MAX_API_CA_BUNDLE
    if not path or Path(path).exists():
        return []
    return [Error("MAX_API_CA_BUNDLE is no file: MAX would never be asked.", hint=path, id="profiles.E003")]


@register(deploy=True)
def queue_is_not_forgotten(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """A server that evicts what it has no room for evicts tasks too; one that does not, refuses profiles instead."""
    if not _plain(settings.CELERY_BROKER_URL).startswith(("redis", "unix")):
        return []
    policy = _policy_of(settings.CELERY_BROKER_URL)
    hint = "Give CELERY_BROKER_URL a server of its own with maxmemory-policy noeviction."
    if policy.startswith("allkeys"):
        return [Error(f"The queue is on a server that forgets ({policy}).", hint=hint, id="profiles.E002")]
    if _address(settings.CELERY_BROKER_URL) == _address(settings.REDIS_URL):
        return [Warning("The queue and the profile cache share one server.", hint=hint, id="profiles.W001")]
    return []


def _policy_of(url: str) -> str:
    """Return the server's maxmemory-policy, an empty string while it does not answer."""
    try:
        with redis.Redis.from_url(_plain(url), socket_timeout=2, socket_connect_timeout=2) as client:
            return str(client.info("memory").get("maxmemory_policy", ""))
    except redis.RedisError:
        return ""


def _plain(url: str) -> str:
    """Turn Celery's spelling of a socket into redis-py's."""
    return url.replace("redis+socket://", "unix://").partition("?")[0]


def _address(url: str) -> tuple[object, object]:
    parts = parse_url(_plain(url))  # type: ignore[no-untyped-call]
    return parts.get("path") or parts.get("host"), parts.get("port", 6379)
