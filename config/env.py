"""Environment variables, read with django-environ. Blank values mean the default; errors name the invalid variable."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import psycopg
from django.core.exceptions import ImproperlyConfigured
from environ import Env as DjangoEnv
from kombu.transport import TRANSPORT_ALIASES
from psycopg.conninfo import conninfo_to_dict

from config.lib import redis_connection

T = TypeVar("T")
_UNIT_SECONDS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|m|s)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_WEBHOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{16,256}")

GUIDE_SECRET = "webhook-secret-change-in-production"  # noqa: S105 (the migration guide's example, refused)


class Env(DjangoEnv):  # type: ignore[misc]
    """django-environ with errors that name the variable and never quote its value.

    django-environ itself would read “maybe” as false and “0.8x” as 0.8. It would also read a value that begins with
    ``$``, as a secret may, as the name of another variable.
    """

    DB_SCHEMES = dict.fromkeys(("postgres", "postgresql"), "config.postgres")
    EMAIL_SCHEMES: ClassVar = DjangoEnv.EMAIL_SCHEMES | dict.fromkeys(
        ("smtp", "smtps", "smtp+tls", "smtp+ssl"), "config.lib.outgoing.EmailBackend"
    )
    _STRICT: ClassVar = {
        bool: "|".join((*DjangoEnv.BOOLEAN_TRUE_STRINGS, "false", "off", "n", "no", "0")),
        int: r"\d{1,10}",
        float: r"\d{1,10}(\.\d{1,10})?",
    }

    def get_value(self, var: str, cast: Any = None, default: Any = None, parse_default: bool = False) -> Any:
        text: str = self.ENVIRON.get(var, "")
        if not text.strip() or cast is str:
            return text if text.strip() else default
        is_invalid = isinstance(cast, type) and not re.fullmatch(self._STRICT[cast], text.strip(), re.IGNORECASE)
        try:
            if not is_invalid:
                return self.parse_value(text.strip(), cast)
        except (ValueError, ImproperlyConfigured):
            pass
        raise ImproperlyConfigured(f"{var} is not {_DESCRIPTIONS[cast]}")

    def read(self, var: str, cast: Callable[[str], T], default: str) -> T:
        """Return the variable's value parsed by ``cast``, one of this module's functions; ``default`` is parsed too."""
        value: T = self.get_value(var, cast, cast(default))
        return value

    def duration(self, var: str, default: str) -> timedelta:
        return self.read(var, parse_duration, default)

    def float_up_to(self, var: str, maximum: int, default: float) -> float:
        value: float = self.float(var, default)
        if value > maximum:
            raise ImproperlyConfigured(f"{var} is not a number from 0 to {maximum}")
        return value

    def list(self, var: str, cast: Any = str.strip, default: Any = ()) -> Any:
        """Return the comma-separated items without empty ones; by default, remove white space around each item."""
        return [item for item in super().list(var, cast, default) if item]


def parse_duration(text: str) -> timedelta:
    """Parse a duration in Go's format (``720h``, ``1h30m``, ``3s``); raise ValueError for other text."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not {_DESCRIPTIONS[parse_duration]}")
    parts = _DURATION_PART.findall(text)
    return timedelta(seconds=sum(float(amount) * _UNIT_SECONDS[unit] for amount, unit in parts))


def format_duration(duration: timedelta) -> str:
    """Return a duration in words: ``30 days``, ``1 hour 30 minutes``, ``0.5 seconds``."""
    seconds, parts = duration.total_seconds(), list[tuple[float, str]]()
    for unit, unit_seconds in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        number, seconds = divmod(seconds, unit_seconds)
        parts += [(number, unit)] if number else []
    parts += [(round(seconds, 6), "second")] if seconds or not parts else []
    return " ".join(f"{number:g} {unit}{'' if number == 1 else 's'}" for number, unit in parts)


def time_zone(name: str) -> str:
    """Return the name if it is a time zone of the IANA database; otherwise raise ValueError."""
    try:
        return ZoneInfo(name).key
    except (OSError, LookupError):
        raise ValueError(f"{name!r} is not {_DESCRIPTIONS[time_zone]}") from None


def hours(text: str) -> tuple[int, int]:
    """Return the hours at which a range such as ``8-20`` begins and ends; raise ValueError for other text."""
    match = re.fullmatch(r"(\d{1,2})-(\d{1,2})", text, re.ASCII)
    first, last = map(int, match.groups()) if match else (0, 0)
    if not 0 <= first < last <= 24:
        raise ValueError(f"{text!r} is not {_DESCRIPTIONS[hours]}")
    return first, last


_KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3}


def database(url: str) -> dict[str, Any]:
    """Return the DATABASES entry for a PostgreSQL URL.

    The query of the URL may set connection options, and the directory of a Unix socket as ``host``.
    """
    if url.partition("://")[0] not in Env.DB_SCHEMES:
        raise ValueError(f"not {_DESCRIPTIONS[database]}")
    entry: dict[str, Any] = Env.db_url_config(url)
    options = entry.pop("OPTIONS", {})
    if "," in urlsplit(url).netloc.rpartition("@")[2]:
        entry |= _hosts(url)
    host = str(options.pop("host", entry["HOST"]))
    # Of several hosts, one is the primary: the others accept connections too, but are read-only.
    attributes = {"target_session_attrs": "read-write"} if "," in host else {}
    return entry | {
        "HOST": host,
        # tcp_user_timeout: by default the kernel takes a quarter of an hour to notice that a host has vanished, and two
        # hours (keepalives) if the host vanishes while we wait for its answer.
        # prepare_threshold: planning was half of the cost of the inbox's INSERT. By default Django disables prepared
        # statements even for cursors that request them; with this value, its own cursors still do not prepare.
        "OPTIONS": {
            "connect_timeout": 2,
            "tcp_user_timeout": 3000,
            **_KEEPALIVES,
            **attributes,
            "prepare_threshold": 5,
            **options,
        },
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }


def _hosts(url: str) -> dict[str, str]:
    """Return the hosts and ports in a PostgreSQL URL as libpq reads them.

    If one of several hosts has no port, django-environ would assign the ports to the wrong hosts.
    """
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ValueError(f"not {_DESCRIPTIONS[database]}") from None
    return {"HOST": str(parts["host"]), "PORT": str(parts.get("port") or "")}


def redis_url(url: str) -> str:
    redis_connection.address(url)
    return url


def redis_address(address: str) -> str:
    redis_url(f"redis://{address}")
    return address


def broker_url(url: str) -> str:
    """Return the URL if its broker is Redis or another one that Celery supports; otherwise raise ValueError."""
    scheme, is_url, _ = url.partition("://")
    is_other = is_url and scheme in TRANSPORT_ALIASES and not scheme.startswith(("redis", "sentinel"))
    return url if is_other else redis_url(url)


def issuer(url: str) -> str:
    """Return the URL if it is empty or may be the URL of an OpenID Connect provider; otherwise raise ValueError."""
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise ValueError(f"not {_DESCRIPTIONS[issuer]}")
    return url


_DESCRIPTIONS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    parse_duration: "a duration such as 720h, 1h30m, 3s or 500ms",
    time_zone: "a time zone such as Europe/Moscow",
    hours: "hours of a day such as 8-20",
    database: "a PostgreSQL URL (postgresql://user@host/name)",
    redis_url: "a Redis URL (redis://host:6379/1)",
    redis_address: "the address of a Redis (host:6379)",
    issuer: "the URL of an OpenID Connect provider (https://sso.example.ru/realms/staff)",
    broker_url: "a Redis URL (redis://host:6379/1)",
    Env.email_url_config: "a URL such as smtp+tls://user:password@host:587",
}


def single_sign_on(oidc_issuer: str, client_id: str, client_secret: str, scopes: list[str]) -> dict[str, Any]:
    """Return the setting SOCIALACCOUNT_PROVIDERS, which is empty if ``oidc_issuer`` is empty.

    Raise ImproperlyConfigured if there is an issuer, but no client ID or client secret.
    """
    if not oidc_issuer:
        return {}
    for name, value in (("OIDC_CLIENT_ID", client_id), ("OIDC_CLIENT_SECRET", client_secret)):
        if not value:
            raise ImproperlyConfigured(f"{name} must be set if OIDC_ISSUER is set")
    configuration = f"{oidc_issuer.rstrip('/')}/.well-known/openid-configuration"
    options = {"server_url": configuration, "scope": scopes, "oauth_pkce_enabled": True}
    app = {"provider_id": "sso", "name": "sso", "client_id": client_id, "secret": client_secret, "settings": options}
    return {"openid_connect": {"APPS": [app]}}


def refuse_unsafe_production(
    secret_key: str, webhook_secrets: list[str], allowed_hosts: list[str], max_api_url: str, oidc_issuer: str = ""
) -> None:
    """Raise ImproperlyConfigured, without quoting values, if a setting is unsafe for production."""
    secret_key = secret_key.strip()
    # The rule of Django's check security.W009, which is only a warning.
    if len(secret_key) < 50 or len(set(secret_key)) < 5 or secret_key.startswith("django-insecure-"):
        raise ImproperlyConfigured("SECRET_KEY must be set to at least 50 random characters in production")
    if not webhook_secrets or not all(_WEBHOOK_SECRET.fullmatch(secret) for secret in webhook_secrets):
        raise ImproperlyConfigured("WEBHOOK_SECRET must have 16 to 256 of the characters A-Z a-z 0-9 _ - in production")
    if GUIDE_SECRET in webhook_secrets:
        raise ImproperlyConfigured("WEBHOOK_SECRET is the public example of the migration guide: choose another one")
    if not allowed_hosts or "*" in allowed_hosts:
        raise ImproperlyConfigured("ALLOWED_HOSTS must list the host names of this server in production")
    if not _is_private(max_api_url):
        raise ImproperlyConfigured("MAX_API_URL must begin with https:// in production: it receives phones and a token")
    if oidc_issuer and not _is_private(oidc_issuer):
        raise ImproperlyConfigured("OIDC_ISSUER must begin with https:// in production: it decides who logs in")


def _is_private(url: str) -> bool:
    """Return whether the connection to the server of this URL is encrypted, or stays on this host."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")
