from collections.abc import Iterator

import pytest
import time_machine
from pytest_django.fixtures import Settings

from tests.monitoring.alert_causes import NOON, Clock
from tests.monitoring.alert_receiver import AlertReceiver, alert_receiver


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Stop the clock at NOON; tests shift it."""
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def receiver(settings: Settings) -> Iterator[AlertReceiver]:
    with alert_receiver() as made:
        settings.ALERT_WEBHOOK_URL = made.url
        yield made
