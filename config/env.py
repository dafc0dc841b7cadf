"""Readers of the environment: a blank value is the default, a wrong one is refused by its variable's name."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
from django.core.exceptions import ImproperlyConfigured
from environ import Env as DjangoEnv
from kombu.transport import TRANSPORT_ALIASES
from psycopg.conninfo import conninfo_to_dict
from redis.connection import parse_url

_UNITS = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|m|s)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_BOOLEANS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
_NUMBER = re.compile(r"\d{1,10}(\.\d{1,10})?")
_WEBHOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{16,256}")

GUIDE_SECRET = "webhook-secret-change-in-production"  # noqa: S105 (the migration guide's example, refused)


class Env(DjangoEnv):  # type: ignore[misc]
    """django-environ, but a text is what it is: there a secret that begins with ``$`` would be read as empty."""

    def str(self, var: str, default: str = "") -> str:
        value: str = self.ENVIRON.get(var, default)
        return value


def parse_duration(text: str) -> timedelta:
    """Turn Go's spelling (``720h``, ``1h30m``, ``3s``) into a timedelta; ValueError on anything else."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 720h, 1h30m, 3s or 500ms")
    parts = _DURATION_PART.findall(text)
    return sum((float(amount) * _UNITS[unit] for amount, unit in parts), timedelta())


def in_words(length: timedelta) -> str:
    """Write a duration for people: ``30 days``, ``1 hour 30 minutes``, ``0.5 seconds``."""
    left, words = length.total_seconds(), list[tuple[float, str]]()
    for unit, seconds in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        number, left = divmod(left, seconds)
        words += [(number, unit)] if number else []
    words += [(round(left, 6), "second")] if left or not words else []
    return " ".join(f"{number:g} {unit}{'' if number == 1 else 's'}" for number, unit in words)


def duration(env: Env, name: str, default: str) -> timedelta:
    try:
        return parse_duration(env.str(name, default) or default)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from None


def boolean(env: Env, name: str, default: bool) -> bool:
    word = env.str(name).strip().lower()
    if word and word not in _BOOLEANS:
        raise ImproperlyConfigured(f"{name}: {word!r} is neither true nor false")
    return _BOOLEANS.get(word, default)


def number(env: Env, name: str, default: float, most: float = 10**9) -> float:
    text = env.str(name).strip()
    if text and not (_NUMBER.fullmatch(text) and float(text) <= most):
        raise ImproperlyConfigured(f"{name}: {text!r} is not a number from 0 to {most:g}")
    return float(text or default)


def whole(env: Env, name: str, default: int) -> int:
    value = number(env, name, default)
    if not value.is_integer():
        raise ImproperlyConfigured(f"{name}: {value:g} is not a whole number")
    return int(value)


def hours(name: str, text: str) -> tuple[int, int]:
    """Turn hours of a day (``8-20``) into the first and the one that ends them."""
    match = re.fullmatch(r"(\d{1,2})-(\d{1,2})", text)
    first, last = map(int, match.groups()) if match else (0, 0)
    if not 0 <= first < last <= 24:
        raise ImproperlyConfigured(f"{name}: {text!r} are not hours of a day such as 8-20")
    return first, last


def database(url: str) -> dict[str, Any]:
    """Turn a libpq URL, socket folders and options included, into an entry of DATABASES."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ImproperlyConfigured("DATABASE_URL is not a PostgreSQL URL (postgresql://user@host/name)") from None
    return {
        "ENGINE": "config.postgres",
        "NAME": parts.pop("dbname", ""),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        # A host that vanished is noticed by what it does not acknowledge, not after the kernel's quarter of an hour.
        # Django turns prepared statements off, also for cursors that ask for one: planning anew was half of what the
        # inbox's INSERT cost PostgreSQL. Django's own cursors bind on this side and are never prepared.
        "OPTIONS": {"connect_timeout": 2, "tcp_user_timeout": 3000, "prepare_threshold": 5, **parts},
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }


def redis_url(name: str, url: str) -> str:
    try:
        parse_url(url.replace("redis+socket://", "unix://"))  # type: ignore[no-untyped-call]
    except ValueError:
        raise ImproperlyConfigured(f"{name} is not a Redis URL (redis://host:6379/1)") from None
    return url


def broker_url(name: str, url: str) -> str:
    """Return the URL of a queue: that of a Redis, or of another server that Celery knows."""
    scheme, is_url, _ = url.partition("://")
    is_other = is_url and scheme in TRANSPORT_ALIASES and not scheme.startswith("redis")
    return url if is_other else redis_url(name, url)


def email(name: str, url: str) -> dict[str, Any]:
    try:
        return dict(DjangoEnv.email_url_config(url))
    except (ImproperlyConfigured, ValueError):
        raise ImproperlyConfigured(f"{name} is not a URL such as smtp+tls://user:password@host:587") from None


def comma_list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def refuse_plain_http(name: str, url: str) -> None:
    """Raise ImproperlyConfigured unless what is sent to url stays encrypted, or on this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ImproperlyConfigured(f"{name} must begin with https:// when DEBUG is off: phones and the token go there")


def refuse_weak_production(secret_key: str, webhook_secret: str, allowed_hosts: list[str]) -> None:
    """Raise ImproperlyConfigured, naming the variable and never its value, unless production is safe to start."""
    secret_key = secret_key.strip()
    # As Django's own check judges it (security.W009), which does not stop a start.
    if len(secret_key) < 50 or len(set(secret_key)) < 5 or secret_key.startswith("django-insecure-"):
        raise ImproperlyConfigured("SECRET_KEY must be set to at least 50 random characters when DEBUG is off")
    secrets = comma_list(webhook_secret)
    if not secrets or not all(_WEBHOOK_SECRET.fullmatch(item) for item in secrets):
        raise ImproperlyConfigured(
            "WEBHOOK_SECRET must hold 16 to 256 of the characters A-Z a-z 0-9 _ - when DEBUG is off"
        )
    if GUIDE_SECRET in secrets:
        raise ImproperlyConfigured("WEBHOOK_SECRET is the example of the migration guide: anybody knows it")
    if not allowed_hosts or "*" in allowed_hosts:
        raise ImproperlyConfigured("ALLOWED_HOSTS must name the hosts that this server answers for when DEBUG is off")
