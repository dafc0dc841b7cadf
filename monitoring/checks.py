import os
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import User
from django.core.checks import CheckMessage, Error, register
from django.db import DatabaseError

# With it `make run` makes the superuser of a development.
KNOWN = "admin"


def with_known_password() -> list[str]:
    """Name the superusers that a development made and whose password anybody knows; DatabaseError as ever.

    Others are not asked: a look at a password takes a third of a second.
    """
    names = {"admin", os.environ.get("DJANGO_SUPERUSER_USERNAME") or "admin"}
    users = User.objects.filter(username__in=names, is_superuser=True, is_active=True)
    return [user.username for user in users if check_password(KNOWN, user.password)]


@register(deploy=True)
def superusers_have_their_own_password(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        known = [] if settings.DEBUG else with_known_password()
    except DatabaseError:
        return []
    return [
        Error(
            f"The superuser {name} has the password {KNOWN}.",
            hint=f"manage.py changepassword {name}",
            id="monitoring.E001",
        )
        for name in known
    ]
