import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from webhooks.models import InboxUpdate, State

pytestmark = pytest.mark.django_db


def arrive(age: timedelta, state: State = State.PENDING) -> None:
    at = timezone.now() - age
    finished_at = None if state == State.PENDING else timezone.now()
    key = str(InboxUpdate.objects.count()).encode()
    InboxUpdate.objects.create(
        dedup_key=key, state=state, received_at=at, next_try_at=at, finished_at=finished_at, update_type="other"
    )


def test_it_works() -> None:
    arrive(timedelta(hours=1))
    arrive(timedelta(seconds=1))
    arrive(timedelta(days=1), State.DONE)
    backlog = InboxUpdate.objects.backlog()
    assert backlog.size == 2
    assert timedelta(hours=1) <= backlog.age < timedelta(hours=1, minutes=1)


def test_a_replayed_update_waits_since_its_replay() -> None:
    arrive(timedelta(days=1), State.DONE)
    InboxUpdate.objects.update(body=b"{}")
    InboxUpdate.objects.all().replay(by="t", reason="r", selection="all")
    assert InboxUpdate.objects.backlog().age < timedelta(minutes=1)
    InboxUpdate.objects.update(tries=1)
    assert InboxUpdate.objects.backlog().age > timedelta(hours=23), "failed since: as late as it came"


def test_metrics_show_it(client: Client, settings: Settings) -> None:
    settings.DEBUG = True
    arrive(timedelta(hours=1))
    text = client.get("/metrics").content.decode()
    assert "webhook_inbox_pending 1.0" in text
    lag = re.search(r"^webhook_inbox_lag_seconds (\S+)$", text, re.MULTILINE)
    assert lag is not None
    assert 3600 <= float(lag[1]) < 3660
