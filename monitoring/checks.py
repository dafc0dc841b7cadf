import os
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import User
from django.core.checks import CheckMessage, Error, register
from django.db import DatabaseError

# The password of the superuser that `make run` creates in development.
KNOWN = "admin"


def with_known_password() -> list[str]:
    """Return the usernames of active superusers who have a default username and still have the KNOWN password.

    Other superusers are not checked, because checking one password takes a third of a second. Raise DatabaseError if
    the database is unavailable.
    """
    names = {"admin", os.environ.get("DJANGO_SUPERUSER_USERNAME") or "admin"}
    users = User.objects.filter(username__in=names, is_superuser=True, is_active=True)
    return [user.username for user in users if check_password(KNOWN, user.password)]


@register(deploy=True)
def superusers_have_their_own_password(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        names = [] if settings.DEBUG else with_known_password()
    except DatabaseError:
        return []
    hint = "Run manage.py changepassword {}."
    return [
        Error(f"The superuser {name} has the default password.", hint=hint.format(name), id="monitoring.E001")
        for name in names
    ]
