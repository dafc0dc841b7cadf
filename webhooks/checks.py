from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from webhooks.subscription import canonical


@register
def check_webhook_settings(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    # MAX retries for up to 7 days. If the stored update were deleted sooner, a retry would count as a new update.
    errors: list[CheckMessage] = [
        Error(
            f"{name} is shorter than 7 days, for which duplicate deliveries must be recognised.",
            hint=f"Set {name}=168h or longer.",
            id="webhooks.E001",
        )
        for name in ("INBOX_EVENT_RETENTION", "INBOX_DEAD_LETTER_RETENTION")
        if getattr(settings, name) < timedelta(days=7)
    ]
    try:
        if settings.WEBHOOK_PUBLIC_URL:
            canonical(settings.WEBHOOK_PUBLIC_URL)
    except ValueError as error:
        errors.append(Error(f"WEBHOOK_PUBLIC_URL is not valid: {error}.", id="webhooks.E002"))
    return errors
