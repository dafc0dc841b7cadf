"""Silence is the working time in Moscow since the last update. 2026-11-25 is a Wednesday."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from pytest_django.fixtures import Settings

from monitoring.indicators import probe, rounds
from monitoring.indicators.models import IndicatorReading, Level
from monitoring.indicators.working_time import MOSCOW, working_time
from monitoring.rollout_control.guide.validation import Validation
from tests.conftest import Phases
from webhooks.models import DuplicateDelivery, InboxUpdate

pytestmark = pytest.mark.django_db


def moscow(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=MOSCOW)


def arrive(moment: datetime) -> None:
    InboxUpdate.objects.create(dedup_key=str(moment).encode()[:32], received_at=moment, next_try_at=moment)


def measured_at(moment: datetime) -> IndicatorReading:
    with time_machine.travel(moment.astimezone(UTC), tick=False):
        return rounds.measure(["seconds_since_update"])["seconds_since_update"]


def silence_at(moment: datetime) -> timedelta | None:
    """Return the silence if it is critical."""
    reading = measured_at(moment)
    assert reading.value is not None or reading.level == Level.UNKNOWN
    return timedelta(seconds=reading.value or 0) if reading.level == Level.CRITICAL else None


@pytest.mark.parametrize(
    ("now", "level", "minutes"),
    [
        (moscow(25, 9, 14), Level.OK, 14),
        (moscow(25, 9, 15), Level.WARNING, 15),
        (moscow(25, 14, 59), Level.WARNING, 359),
        (moscow(25, 15), Level.CRITICAL, 360),
        (moscow(25, 20, 1), Level.UNKNOWN, 660),
    ],
)
def test_it_works(now: datetime, level: Level, minutes: int) -> None:
    arrive(moscow(25, 9))
    reading = measured_at(now)
    assert (reading.level, reading.value) == (level, 60 * minutes)
    assert str(minutes) in str(reading.sentence)


def test_nothing_is_known_before_the_first_update() -> None:
    reading = measured_at(moscow(25, 12))
    assert (reading.level, str(reading.sentence)) == (Level.UNKNOWN, "no updates yet")


def test_an_update_at_night_is_enough_at_night() -> None:
    arrive(moscow(25, 23))
    assert measured_at(moscow(26, 2)).level == Level.OK


@pytest.mark.django_db(transaction=True)
def test_synthetic_updates_do_not_count(redis: object, phases: Phases, settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = [b"the-right-secret"]
    arrive(moscow(25, 9))
    with time_machine.travel(moscow(25, 11).astimezone(UTC)):
        probe.round_trip(patience=0)
        validation = Validation(patience=0)
        validation.webhook()
        validation.repeat()
    assert (InboxUpdate.objects.count(), DuplicateDelivery.objects.count()) == (3, 1)
    assert measured_at(moscow(25, 12)).value == 3 * 3600


@pytest.mark.parametrize(
    ("last", "now", "hours"),
    [
        (moscow(25, 9), moscow(25, 14, 59), None),
        (moscow(25, 9), moscow(25, 15), 6),
        (moscow(25, 3), moscow(25, 14), 6),  # the night does not count
        (moscow(25, 9), moscow(25, 21), None),  # and does not alarm
        (moscow(25, 17), moscow(26, 10), None),
        (moscow(25, 17), moscow(26, 11), 6),
        (moscow(27, 19), moscow(28, 12), None),  # Saturday
        (moscow(27, 19), moscow(30, 12), None),  # Monday: 1 h of Friday, 4 h of Monday
        (moscow(27, 19), moscow(30, 13), 6),
        (moscow(2, 8), moscow(25, 20), 18 * 12),
    ],
)
def test_only_working_time_counts(last: datetime, now: datetime, hours: int | None) -> None:
    arrive(last)
    assert silence_at(now) == (None if hours is None else timedelta(hours=hours))


def test_a_duplicate_counts_as_an_update() -> None:
    arrive(moscow(25, 8))
    DuplicateDelivery.objects.create(dedup_key=b"1", update_type="bot_started", received_at=moscow(25, 12))
    assert silence_at(moscow(25, 15)) is None


def test_hours_and_limit_are_settings(settings: Settings) -> None:
    settings.WEBHOOK_WORKING_HOURS = (0, 24)
    settings.WEBHOOK_SILENCE_AFTER = timedelta(hours=1)
    arrive(moscow(24, 23))
    assert silence_at(moscow(25, 1)) == timedelta(hours=2)
    settings.WEBHOOK_SILENCE_AFTER = timedelta()
    assert silence_at(moscow(25, 1)) is None


def test_it_counts_from_the_installation(settings: Settings) -> None:
    now = datetime.now(UTC) + timedelta(days=7)
    assert silence_at(now) is None
    settings.WEBHOOK_PUBLIC_URL = "https://directory.example.ru/webhook/max"
    settings.WEBHOOK_WORKING_HOURS = (0, 24)
    weekday = now + timedelta(days=2 if now.astimezone(MOSCOW).weekday() >= 5 else 0)
    silent = silence_at(weekday)
    assert silent
    assert timedelta(days=4) < silent < timedelta(days=8)


def test_working_time_of_nothing_is_none() -> None:
    assert working_time(moscow(25, 12), moscow(25, 12)) == timedelta()
