"""Reads the environment by django-environ: a blank value is the default, a wrong one is refused by its name."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from environ import Env as DjangoEnv
from kombu.transport import TRANSPORT_ALIASES
from redis.connection import parse_url

T = TypeVar("T")
_UNITS = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|m|s)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_WEBHOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{16,256}")

GUIDE_SECRET = "webhook-secret-change-in-production"  # noqa: S105 (the migration guide's example, refused)


class Env(DjangoEnv):  # type: ignore[misc]
    """django-environ, with errors that name the variable and never its value.

    It would also take “maybe” for false, read a number out of “0.8x”, and a text that begins with ``$`` as the name of
    another variable: a secret may.
    """

    DB_SCHEMES = dict.fromkeys(("postgres", "postgresql"), "config.postgres")
    _STRICT: ClassVar = {
        bool: "|".join((*DjangoEnv.BOOLEAN_TRUE_STRINGS, "false", "off", "n", "no", "0")),
        int: r"\d{1,10}",
        float: r"\d{1,10}(\.\d{1,10})?",
    }

    def get_value(self, var: str, cast: Any = None, default: Any = None, parse_default: bool = False) -> Any:
        text: str = self.ENVIRON.get(var, "")
        if not text.strip() or cast is str:
            return text if text.strip() else default
        is_wrong = isinstance(cast, type) and not re.fullmatch(self._STRICT[cast], text.strip(), re.IGNORECASE)
        try:
            if not is_wrong:
                return self.parse_value(text.strip(), cast)
        except (ValueError, ImproperlyConfigured):
            pass
        raise ImproperlyConfigured(f"{var} is not {_MEANINGS[cast]}")

    def read(self, var: str, cast: Callable[[str], T], default: str) -> T:
        """Return a value of one of the types below, which the default is written in too."""
        value: T = self.get_value(var, cast, cast(default))
        return value

    def share(self, var: str, default: float, whole: int = 1) -> float:
        """Return a number from 0 to the whole."""
        value: float = self.float(var, default)
        if value > whole:
            raise ImproperlyConfigured(f"{var} is not a number from 0 to {whole}")
        return value

    def list(self, var: str, cast: Any = str.strip, default: Any = ()) -> Any:
        """Return the items between commas, without blanks and empty ones."""
        return [item for item in super().list(var, cast, default) if item]


def parse_duration(text: str) -> timedelta:
    """Return the timedelta of Go's spelling (``720h``, ``1h30m``, ``3s``); ValueError on anything else."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not {_MEANINGS[parse_duration]}")
    parts = _DURATION_PART.findall(text)
    return sum((float(amount) * _UNITS[unit] for amount, unit in parts), timedelta())


def in_words(length: timedelta) -> str:
    """Return a duration as people write it: ``30 days``, ``1 hour 30 minutes``, ``0.5 seconds``."""
    left, words = length.total_seconds(), list[tuple[float, str]]()
    for unit, seconds in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        number, left = divmod(left, seconds)
        words += [(number, unit)] if number else []
    words += [(round(left, 6), "second")] if left or not words else []
    return " ".join(f"{number:g} {unit}{'' if number == 1 else 's'}" for number, unit in words)


def hours(text: str) -> tuple[int, int]:
    """Return the first hour of a day and the one that ends them, of hours such as ``8-20``."""
    match = re.fullmatch(r"(\d{1,2})-(\d{1,2})", text, re.ASCII)
    first, last = map(int, match.groups()) if match else (0, 0)
    if not 0 <= first < last <= 24:
        raise ValueError(f"{text!r} is not {_MEANINGS[hours]}")
    return first, last


def database(url: str) -> dict[str, Any]:
    """Return the entry of DATABASES for a PostgreSQL URL, with a folder of sockets and options in its query."""
    if url.partition("://")[0] not in Env.DB_SCHEMES:
        raise ValueError(f"not {_MEANINGS[database]}")
    entry: dict[str, Any] = Env.db_url_config(url)
    options = entry.pop("OPTIONS", {})
    return entry | {
        "HOST": options.pop("host", entry["HOST"]),
        # A host that vanished is noticed by what it does not acknowledge, not after the kernel's quarter of an hour.
        # Django turns prepared statements off, also for cursors that ask for one: planning each time was half of what
        # the inbox's INSERT cost PostgreSQL. Django's own cursors bind on this side and are never prepared.
        "OPTIONS": {"connect_timeout": 2, "tcp_user_timeout": 3000, "prepare_threshold": 5, **options},
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }


def redis_url(url: str) -> str:
    parse_url(url.replace("redis+socket://", "unix://"))  # type: ignore[no-untyped-call]
    return url


def redis_address(address: str) -> str:
    redis_url(f"redis://{address}")
    return address


def broker_url(url: str) -> str:
    """Return the URL of a queue: that of a Redis, or of another server that Celery knows."""
    scheme, is_url, _ = url.partition("://")
    is_other = is_url and scheme in TRANSPORT_ALIASES and not scheme.startswith("redis")
    return url if is_other else redis_url(url)


_MEANINGS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    parse_duration: "a duration such as 720h, 1h30m, 3s or 500ms",
    hours: "hours of a day such as 8-20",
    database: "a PostgreSQL URL (postgresql://user@host/name)",
    redis_url: "a Redis URL (redis://host:6379/1)",
    redis_address: "the address of a Redis (host:6379)",
    broker_url: "a Redis URL (redis://host:6379/1)",
    Env.email_url_config: "a URL such as smtp+tls://user:password@host:587",
}


def refuse_plain_http(name: str, url: str) -> None:
    """Raise ImproperlyConfigured unless what is sent to url stays encrypted, or on this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ImproperlyConfigured(f"{name} must begin with https:// when DEBUG is off: phones and the token go there")


def refuse_weak_production(secret_key: str, webhook_secrets: list[str], allowed_hosts: list[str]) -> None:
    """Raise ImproperlyConfigured, naming the variable and never its value, unless production is safe to start."""
    secret_key = secret_key.strip()
    # As Django's own check judges it (security.W009), which does not stop a start.
    if len(secret_key) < 50 or len(set(secret_key)) < 5 or secret_key.startswith("django-insecure-"):
        raise ImproperlyConfigured("SECRET_KEY must be set to at least 50 random characters when DEBUG is off")
    if not webhook_secrets or not all(_WEBHOOK_SECRET.fullmatch(secret) for secret in webhook_secrets):
        raise ImproperlyConfigured(
            "WEBHOOK_SECRET must hold 16 to 256 of the characters A-Z a-z 0-9 _ - when DEBUG is off"
        )
    if GUIDE_SECRET in webhook_secrets:
        raise ImproperlyConfigured("WEBHOOK_SECRET is the example of the migration guide: anybody knows it")
    if not allowed_hosts or "*" in allowed_hosts:
        raise ImproperlyConfigured("ALLOWED_HOSTS must name the hosts that this server answers for when DEBUG is off")
