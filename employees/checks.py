"""A check of the database, which ``migrate`` makes before anything else."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections


@register(Tags.database)
def check_locale(
    app_configs: Sequence[Any] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Return an error if PostgreSQL does not know the letters of other alphabets, so that no search ignores case."""
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
