import logging
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from webhooks.models import InboxUpdate, State
from webhooks.tasks import check_backlog

pytestmark = pytest.mark.django_db


def arrive(age: timedelta, state: State = State.PENDING) -> None:
    at = timezone.now() - age
    finished_at = None if state == State.PENDING else timezone.now()
    key = str(InboxUpdate.objects.count()).encode()
    InboxUpdate.objects.create(
        dedup_key=key, state=state, received_at=at, next_try_at=at, finished_at=finished_at, update_type="other"
    )


def test_it_works(caplog: pytest.LogCaptureFixture) -> None:
    arrive(timedelta(hours=1))
    arrive(timedelta(seconds=1))
    arrive(timedelta(days=1), State.DONE)
    backlog = InboxUpdate.objects.backlog()
    assert backlog.size == 2
    assert timedelta(hours=1) <= backlog.age < timedelta(hours=1, minutes=1)
    with caplog.at_level(logging.ERROR):
        check_backlog()
    record = caplog.records[-1].__dict__
    assert (record["event"], record["pending"]) == ("inbox_lag", 2)
    assert 3600 <= record["oldest_seconds"] < 3660


def test_it_is_silent_while_the_inbox_is_worked_off(caplog: pytest.LogCaptureFixture) -> None:
    arrive(timedelta(seconds=1))
    check_backlog()
    assert not caplog.records


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
    assert "webhook_inbox_lag_seconds 360" in text
