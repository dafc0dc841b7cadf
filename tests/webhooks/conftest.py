import pytest
from pytest_django.fixtures import Settings

from tests.webhooks.fake_platform import FakePlatform

URL = "https://directory.example.ru/webhook/max"
SECRETS = ["new-secret-0123456789", "old-secret-0123456789"]


@pytest.fixture
def platform(platform: FakePlatform, settings: Settings) -> FakePlatform:
    """MAX's API, with a deployment that is configured for its updates."""
    settings.WEBHOOK_PUBLIC_URL = URL
    settings.WEBHOOK_SECRETS = [secret.encode() for secret in SECRETS]
    settings.ALLOWED_HOSTS = ["directory.example.ru", ".staff.example.ru"]
    return platform
