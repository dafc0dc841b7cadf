"""System checks of the database's locale and of the limit on open files.

``migrate`` also checks the locale, before it changes anything.
"""

import resource
from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 (Django's name)
from django.db import DatabaseError, connections

OPEN_FILES_WANTED = 4096


@register(Tags.database)
def check_locale(
    app_configs: Sequence[Any] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Return an error if the database's locale does not lower-case Cyrillic, because searches would not ignore case."""
    hint = "Create the database with a UTF-8 locale, such as C.UTF-8 or ru_RU.UTF-8, and restore a dump into it."
    errors: list[CheckMessage] = []
    for alias in databases or ():
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT lower('ЁЖ'), current_database(), datctype FROM pg_database"
                           " WHERE datname = current_database()")  # fmt: skip
            lower, name, locale = cursor.fetchone()
        if lower != "ёж":
            text = f"The locale of the database {name} is {locale}: searches for names would not ignore case."
            errors.append(Error(text, hint=hint, id="employees.E001"))
    return errors


@register(deploy=True)
def check_default_locale(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Run ``check_locale`` on the default database in ``check --deploy``; return [] if the database is unreachable."""
    try:
        return check_locale(app_configs, databases=["default"])
    except DatabaseError:
        return []


@register(deploy=True)
def check_open_files(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Return a warning if the limit on open files is low: each connection to a client or a store counts as a file."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit >= OPEN_FILES_WANTED or limit == resource.RLIM_INFINITY:
        return []
    text = f"A process may open only {limit} files: with many clients, the web server would refuse connections."
    hint = f"Raise the limit to {OPEN_FILES_WANTED} or more (ulimit -n, LimitNOFILE of systemd, ulimits of Compose)."
    return [Warning(text, hint=hint, id="employees.W001")]
