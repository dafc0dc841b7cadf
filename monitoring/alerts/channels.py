"""Send alerts by webhook, Slack and e-mail. Error messages never contain the addresses, which are secrets."""

import smtplib
from collections.abc import Callable
from typing import Any

import requests
from django.conf import settings
from django.core.mail import send_mail
from django.utils.translation import gettext as _

from config.lib import outgoing
from monitoring.alerts.models import Channel, Delivery

# For a whole request; EMAIL_TIMEOUT is the same for e-mail.
TIMEOUT_SECONDS = 5.0
_RETRIED = (requests.codes.request_timeout, requests.codes.too_early, requests.codes.too_many_requests)


class Unreachable(Exception):
    """Raised when a notification was not delivered, but a retry may succeed."""


class Refused(Exception):
    """Raised when the receiver refused a notification, and a retry will probably not help."""


def _post(url: str, body: dict[str, Any], delivery: Delivery) -> None:
    # Lets the receiver recognise a retry if the response to the first attempt was lost.
    headers = {"Idempotency-Key": f"alert-delivery-{delivery.pk}"}
    try:
        with (
            outgoing.Session() as session,
            session.post(
                url, json=body, headers=headers, timeout=outgoing.within(TIMEOUT_SECONDS), stream=True
            ) as response,
        ):
            status = response.status_code
    except requests.RequestException as error:
        raise Unreachable(type(error).__name__) from None
    if status >= requests.codes.internal_server_error or status in _RETRIED:
        raise Unreachable(f"status {status}")
    if not requests.codes.ok <= status < requests.codes.multiple_choices:
        raise Refused(f"status {status}")


def _headline(delivery: Delivery) -> str:
    is_resolved = delivery.event == Delivery.Event.RESOLVED
    label = _("RESOLVED") if is_resolved else delivery.payload["severity"].upper()
    return f"[{label}] {delivery.alert.get_kind_display()}"


def _to_slack(delivery: Delivery) -> None:
    # Slack interprets <…> as markup: <!channel> would notify everybody in the channel.
    text = delivery.alert.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A message that the previous release queued has no links.
    links = [delivery.payload[name] for name in ("dashboard_url", "runbook_url") if name in delivery.payload]
    body = {"text": "\n".join([f"*{_headline(delivery)}*", text, delivery.payload["timestamp"], *links])}
    _post(settings.ALERT_SLACK_WEBHOOK, body, delivery)


def _to_email(delivery: Delivery) -> None:
    lines = [delivery.alert.text, "", *(f"{name}: {value}" for name, value in delivery.payload.items())]
    subject = _headline(delivery).replace("\n", " ")
    try:
        send_mail(subject, "\n".join(lines), None, settings.ALERT_EMAIL_TO)
    except (smtplib.SMTPException, OSError) as error:
        raise Unreachable(type(error).__name__) from None


SENDERS: dict[str, Callable[[Delivery], None]] = {
    Channel.WEBHOOK: lambda delivery: _post(settings.ALERT_WEBHOOK_URL, delivery.payload, delivery),
    Channel.SLACK: _to_slack,
    Channel.EMAIL: _to_email,
}


def configured() -> list[Channel]:
    """Return the channels that have an address in the settings."""
    addresses = {
        Channel.WEBHOOK: settings.ALERT_WEBHOOK_URL,
        Channel.SLACK: settings.ALERT_SLACK_WEBHOOK,
        Channel.EMAIL: settings.ALERT_EMAIL_TO,
    }
    return [channel for channel, address in addresses.items() if address]
