"""A deployment check of what PostgreSQL promises with a commit."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's name)
from django.db import DatabaseError, connection

_LOSSES = {
    "fsync": "a power cut may damage the whole database",
    "full_page_writes": "a power cut may damage the whole database",
    "synchronous_commit": "what was acknowledged in the last second before a crash may be lost",
}
_QUERY = """
SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
       (SELECT count(*) FROM pg_stat_replication), current_setting('synchronous_standby_names')
"""


@register(deploy=True)
def check_durability(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Return an error for each setting that may lose acknowledged data, and a warning for standbys that may lag."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(_QUERY)
            *values, standbys, synchronous = cursor.fetchone()
    except DatabaseError:
        return []
    found: list[CheckMessage] = [
        Error(
            f"PostgreSQL runs with {name} = off: {loss}.",
            hint=f"Set {name} = on. The view pg_settings shows where it is set.",
            id=f"postgres.E00{number}",
        )
        for number, ((name, loss), value) in enumerate(zip(_LOSSES.items(), values, strict=True), 1)
        if value == "off"
    ]
    if standbys and not synchronous:
        text = "The standbys of PostgreSQL are asynchronous: a failover may lose what was acknowledged just before it."
        hint = "Set synchronous_standby_names, or accept the loss and run the checks of the runbook after a failover."
        found.append(Warning(text, hint=hint, id="postgres.W001"))
    return found
