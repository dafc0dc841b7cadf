"""The health checks of the containers."""

import os
import socket
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from config import alive
from profiles.rollout.models import Heartbeat
from tests.servers import servers
from tests.waiting import PATIENCE


@pytest.fixture
def _this_database(monkeypatch: pytest.MonkeyPatch) -> None:
    name = connection.settings_dict["NAME"]
    monkeypatch.setenv("DATABASE_URL", servers.postgres.url.replace("/directory?", f"/{name}?"))
    monkeypatch.setattr(alive, "_TIMEOUT", int(PATIENCE))


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_this_database")
def test_it_is_alive_with_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "_HEARTBEAT_SECONDS", PATIENCE)
    assert not alive.beats("inbox")
    Heartbeat.objects.create(process=f"inbox-{socket.gethostname()}-1", revision=1)
    assert alive.beats("inbox")
    assert not alive.beats("worker")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_this_database")
def test_it_is_dead_with_an_old_or_foreign_heartbeat() -> None:
    Heartbeat.objects.create(process="inbox-elsewhere-1", revision=1)
    Heartbeat.objects.create(process=f"inbox-{socket.gethostname()}-1", revision=1)
    Heartbeat.objects.filter(process__contains=socket.gethostname()).update(
        seen_at=timezone.now() - timedelta(seconds=30)
    )
    assert not alive.beats("inbox")


def test_it_is_dead_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    assert not alive.beats("inbox")


def test_it_does_not_serve_on_a_closed_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    assert not alive.serves()


def test_it_reads_the_age_of_the_schedule_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert not alive.schedules()
    schedule = tmp_path / "celerybeat-schedule"
    schedule.touch()
    assert alive.schedules()
    os.utime(schedule, (time.time() - 3600,) * 2)
    assert not alive.schedules()
