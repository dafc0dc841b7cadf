from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from tests.webhooks.fake_platform import TOKEN, FakePlatform, fake_platform

URL = "https://directory.example.ru/webhook/max"
SECRETS = ["new-secret-0123456789", "old-secret-0123456789"]


@pytest.fixture
def platform(settings: Settings) -> Iterator[FakePlatform]:
    """The platform's API, reachable, with a deployment that is configured for it."""
    with fake_platform() as fake:
        settings.MAX_API_URL = fake.url
        settings.MAX_BOT_TOKEN = TOKEN
        settings.WEBHOOK_PUBLIC_URL = URL
        settings.WEBHOOK_SECRETS = [secret.encode() for secret in SECRETS]
        settings.ALLOWED_HOSTS = ["directory.example.ru", ".staff.example.ru"]
        yield fake
