"""Prepare the database before the application starts; the last line of stdout is JSON for the supervisor."""

import json
import os
import sys
from datetime import timedelta
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.utils import translation

from config.dev.terminal import EXAMPLE_PHONE


def main() -> None:
    """Migrate, create the superuser, and then create demo data (development) or collect static files (production)."""
    django.setup()
    call_command("migrate", interactive=False, stdout=sys.stderr)
    username = os.environ.get("DJANGO_SUPERUSER_USERNAME") or "admin"
    password = os.environ.get("DJANGO_SUPERUSER_PASSWORD") or ("admin" if settings.DEBUG else "")
    if not settings.DEBUG:
        _refuse_known_passwords(password)
    prepared: dict[str, Any] = {"username": username, "rollout": _rollout()}
    users: Any = apps.get_model("auth", "User").objects
    if password:
        prepared["is_new"] = not users.filter(username=username).exists()
        if prepared["is_new"]:
            users.create_superuser(username=username, password=password)
    if settings.DEBUG:
        # No explicit id: the sequence assigns 1, the id that the guide's examples use.
        universities = apps.get_model("employees", "University").objects
        if not universities.exists():
            universities.create(name="Demo University", inn="7707083893", kpp="773601001")
        # Create no token with a SECRET_KEY from the environment: production may use it too, or others may know it.
        if not os.environ.get("SECRET_KEY", "").strip():
            prepared["token"] = _token(users.get(username=username))
    else:
        call_command("collectstatic", interactive=False, stdout=sys.stderr)
    sys.stdout.write(json.dumps(prepared) + "\n")


def _refuse_known_passwords(password: str) -> None:
    from monitoring.checks import KNOWN, with_known_password  # noqa: PLC0415 (models can be imported only now)

    if password == KNOWN:
        raise ImproperlyConfigured(f"DJANGO_SUPERUSER_PASSWORD must not be {KNOWN} in production")
    for name in with_known_password():
        cure = f"run `manage.py changepassword {name}` beside `DEBUG=true make run`"
        raise ImproperlyConfigured(f"The superuser {name} has the password {KNOWN}: {cure}")


def _rollout() -> dict[str, Any]:
    """Return the phases' percentages, and the rollout's decision for the example employee that the terminal shows."""
    from profiles.rollout.decision import current_state, decide, is_collecting, is_processing  # noqa: PLC0415

    decision = decide(EXAMPLE_PHONE, 1)
    with translation.override("en"):
        reason = str(decision.reason.label)
    return {
        "percents": [bucket / 100 for bucket in current_state().phases],
        "stage": decision.stage,
        "reason": reason,
        "is_collecting": is_collecting() and is_processing(),
    }


def _token(user: Any) -> str:
    from employees.credentials.models import LogIn  # noqa: PLC0415 (models can be imported only now)
    from employees.credentials.tokens import access_token  # noqa: PLC0415

    lifetime = timedelta(days=30)
    return str(access_token(LogIn.objects.start(user, lifetime), lifetime))


if __name__ == "__main__":
    main()
