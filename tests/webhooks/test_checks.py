"""Deployments that the system checks refuse."""

from datetime import timedelta

import pytest
from django.core.checks import run_checks
from pytest_django.fixtures import Settings


def ids() -> list[str | None]:
    return [message.id for message in run_checks() if message.id and message.id.startswith("webhooks.")]


def test_the_defaults_are_fine() -> None:
    assert ids() == []


@pytest.mark.parametrize("name", ["INBOX_EVENT_RETENTION", "INBOX_DEAD_LETTER_RETENTION"])
def test_it_refuses_a_retention_below_7_days(settings: Settings, name: str) -> None:
    setattr(settings, name, timedelta(days=7))
    assert ids() == []
    setattr(settings, name, timedelta(days=7) - timedelta(seconds=1))
    assert ids() == ["webhooks.E001"]


def test_it_refuses_a_url_that_max_would_not_reach(settings: Settings) -> None:
    settings.WEBHOOK_PUBLIC_URL = "https://directory.example.ru/webhook/max"
    assert ids() == []
    settings.WEBHOOK_PUBLIC_URL = "http://directory.example.ru:8095/webhook/max"
    assert ids() == ["webhooks.E002"]
