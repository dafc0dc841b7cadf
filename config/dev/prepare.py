"""Bring the database up to date in one process; the last line on stdout is what it found, for the supervisor."""

import json
import os
import sys
from datetime import timedelta

import django
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

_TOKEN_LIFETIME = timedelta(days=30)


def _superuser(username: str, password: str) -> bool:
    """Create the superuser; return False, and leave the password alone, when there is one of this name."""
    users = apps.get_model("auth", "User").objects
    if users.filter(username=username).exists():
        return False
    users.create_superuser(username=username, password=password)
    return True


def _refuse_known_passwords(given: str) -> None:
    from monitoring.checks import KNOWN, with_known_password  # noqa: PLC0415 (models can be imported only now)

    if given == KNOWN:
        raise ImproperlyConfigured(f"DJANGO_SUPERUSER_PASSWORD is {KNOWN}: anybody knows it")
    for name in with_known_password():
        cure = f"`manage.py changepassword {name}` beside `DEBUG=true make run`"
        raise ImproperlyConfigured(f"The superuser {name} has the password {KNOWN}: {cure}")


def _token(username: str) -> str:
    from rest_framework_simplejwt.tokens import AccessToken  # noqa: PLC0415 (models can be imported only now)

    token = AccessToken.for_user(apps.get_model("auth", "User").objects.get(username=username))
    token.set_exp(lifetime=_TOKEN_LIFETIME)
    return str(token)


def _first_university() -> None:
    """Make university 1, which the guide's examples name, by the sequence and not by force."""
    universities = apps.get_model("employees", "University").objects
    if not universities.exists():
        universities.create(name="Demo University", inn="7707083893", kpp="773601001")


def main() -> None:
    django.setup()
    call_command("migrate", interactive=False, stdout=sys.stderr)
    username = os.environ.get("DJANGO_SUPERUSER_USERNAME") or "admin"
    password = os.environ.get("DJANGO_SUPERUSER_PASSWORD") or ("admin" if settings.DEBUG else "")
    if not settings.DEBUG:
        _refuse_known_passwords(password)
    found: dict[str, str | bool] = {"username": username}
    if password:
        found["is_new"] = _superuser(username, password)
    if settings.DEBUG:
        _first_university()
        found["token"] = _token(username)
    else:
        call_command("collectstatic", interactive=False, stdout=sys.stderr)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
