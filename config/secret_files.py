"""Read secrets from files, as Docker, Kubernetes and systemd provide them.

For example, ``SECRET_KEY_FILE`` is the path of the file that contains SECRET_KEY.
"""

from collections.abc import MutableMapping
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

# PGPASSWORD is libpq's own variable, for a DATABASE_URL without a password.
NAMES = (
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "WEBHOOK_SECRET",
    "DATABASE_URL",
    "DATABASE_DIRECT_URL",
    "PGPASSWORD",
    "REDIS_URL",
    "REDIS_PASSWORD",
    "CELERY_BROKER_URL",
    "MAX_BOT_TOKEN",
    "MONITORING_TOKEN",
    "ALERT_WEBHOOK_URL",
    "ALERT_SLACK_WEBHOOK",
    "EMAIL_URL",
    "OIDC_CLIENT_SECRET",
    "DJANGO_SUPERUSER_PASSWORD",
)


def read_into(environ: MutableMapping[str, str]) -> None:
    """For each variable in NAMES that has a ``…_FILE``, read that file into the variable, without the final line break.

    The file takes precedence over the variable: a child process inherits the value that its parent has read, and the
    file may have changed since. A blank file counts as an unset variable. Raise ImproperlyConfigured if a file cannot
    be read.
    """
    for name in NAMES:
        path = environ.get(f"{name}_FILE", "").strip()
        if not path:
            continue
        try:
            content = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ImproperlyConfigured(f"{name}_FILE cannot be read: {reason}") from None
        if "\0" in content:
            raise ImproperlyConfigured(f"{name}_FILE cannot be read: it is binary")
        environ[name] = content
