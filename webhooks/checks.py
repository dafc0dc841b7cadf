from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from webhooks.subscription import canonical

DUPLICATES_COME_FOR = timedelta(days=7)


@register
def retention_covers_duplicates(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """An update that was forgotten while the messenger still repeats it would be counted as a new one."""
    return [
        Error(
            f"{name} is shorter than 7 days, for which repeated deliveries must be recognised.",
            hint=f"Set {name}=168h or longer.",
            id="webhooks.E001",
        )
        for name in ("INBOX_EVENT_RETENTION", "INBOX_DEAD_LETTER_RETENTION")
        if getattr(settings, name) < DUPLICATES_COME_FOR
    ]


@register
def public_url_is_one_that_max_accepts(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        if settings.WEBHOOK_PUBLIC_URL:
            canonical(settings.WEBHOOK_PUBLIC_URL)
    except ValueError as error:
        return [Error(f"WEBHOOK_PUBLIC_URL: {error}.", id="webhooks.E002")]
    return []
