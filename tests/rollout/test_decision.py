from collections.abc import Callable

import pytest
from django.db import OperationalError, connection
from pytest_django.fixtures import Settings
from waffle.models import Switch

from profiles.rollout.decision import Reason, bucket, decide, forget_state, is_collecting, is_processing
from tests.conftest import Phases

PHONES = [f"+7916{number:07d}" for number in range(4000)]

pytestmark = pytest.mark.django_db


def test_the_bucket_is_the_documented_hash() -> None:
    # sha256("v1:migration:+79161234567") begins with 04e8936a.
    assert bucket("migration", "+79161234567") == int("04e8936a", 16) % 10_000


def test_the_deepest_phase_decides(phases: Phases) -> None:
    phases(100, 100, 50, 25)
    stages = {decide(phone).stage for phone in PHONES}
    assert stages == {2, 3, 4}
    assert decide(PHONES[0]).reason == Reason.SPLIT


def test_off_is_the_default(phases: Phases) -> None:
    assert {decide(phone) for phone in PHONES[:9]} == {decide(None)}
    assert (decide(None).stage, decide(None).reason) == (0, Reason.DEFAULT)


@pytest.mark.parametrize(("percent", "stage"), [(0, 2), (0.01, 2), (99.99, 2), (100, 3)])
def test_without_a_key_it_is_on_at_100_and_off_below(phases: Phases, percent: float, stage: int) -> None:
    phases(100, 100, percent)
    assert decide(None).stage == stage


@pytest.mark.parametrize("name", ["PROFILE_CACHE_ENABLED", "EMPLOYEE_SERVICE_PROFILE_ENABLED"])
def test_a_variable_is_a_hard_off(phases: Phases, settings: Settings, name: str) -> None:
    phases(100, 100, 100, 100)
    setattr(settings, name, False)
    assert (decide(PHONES[0]).stage, decide(PHONES[0]).reason) == (0, Reason.HARD_OFF)


@pytest.mark.parametrize(
    ("switch", "active", "reason"),
    [
        ("emergency_stop", True, Reason.KILLED),
        ("profile_cache", False, Reason.SWITCH_OFF),
        ("service_employee", False, Reason.SERVICE_OFF),
    ],
)
def test_a_switch_beats_every_percentage(phases: Phases, switch: str, active: bool, reason: Reason) -> None:
    phases(100, 100, 100, 100)
    Switch.objects.filter(name=switch).update(active=active)
    forget_state()
    assert (decide(PHONES[0]).stage, decide(PHONES[0]).reason) == (0, reason)


@pytest.mark.parametrize(
    ("off", "collects", "processes"),
    [
        (lambda s: None, True, True),
        (lambda s: setattr(s, "WEBHOOK_ENABLED", False), True, False),
        (lambda s: setattr(s, "PROFILE_CACHE_ENABLED", False), False, True),
        (lambda s: Switch.objects.filter(name="webhook_processing").update(active=False), True, False),
        (lambda s: Switch.objects.filter(name="emergency_stop").update(active=True), False, False),
    ],
    ids=["nothing", "WEBHOOK_ENABLED", "PROFILE_CACHE_ENABLED", "webhook_processing", "emergency_stop"],
)
def test_what_stops_collection_and_processing(
    phases: Phases, settings: Settings, off: Callable[[Settings], None], collects: bool, processes: bool
) -> None:
    phases(100, 100)
    off(settings)
    forget_state()
    assert (is_collecting(), is_processing()) == (collects, processes)


def test_collection_is_all_or_nothing(phases: Phases) -> None:
    assert not is_collecting()
    phases(100, 100)
    assert is_collecting()


def test_the_last_known_state_survives_a_database_outage(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    phases(100, 100, 100)
    assert decide(PHONES[0]).stage == 3
    monkeypatch.setattr("profiles.rollout.decision.MEMO_SECONDS", 0)

    def refuse(*args: object) -> None:
        raise OperationalError

    with connection.execute_wrapper(refuse):
        assert decide(PHONES[0]).stage == 3
        forget_state()
        assert decide(PHONES[0]).stage == 0


def test_no_query_and_no_redis_within_a_second(
    phases: Phases, django_assert_num_queries: Callable[[int], object]
) -> None:
    phases(100, 100, 25)
    decide(PHONES[0])
    with django_assert_num_queries(0):  # type: ignore[attr-defined]
        for phone in PHONES:
            decide(phone)
