"""The shadow comparison of the cache with the direct API, after the lookup."""

import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from employees.models import University
from profiles.cache.cached_profile import CachedProfile
from profiles.comparison import (
    COMPARED_STAGES,
    classify,
    classify_names,
    compare_waiting,
    conflict_pattern,
    enqueue,
    masked,
)
from profiles.lookup import resolve
from profiles.models import Comparison, ComparisonOutcome, WaitingComparison
from profiles.rollout.models import Flag
from profiles.rollout.phases import SHADOW
from tests.conftest import Phases
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile
from tests.servers import FaultyServer

PHONE = "+79161234567"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture(autouse=True)
def _all_compared(phases: Phases) -> None:
    Flag.objects.update_or_create(name=SHADOW, defaults={"percent": Decimal(100), "salt": "shadow"})
    phases(100, 100)


def outcome_of(max_id: str | None = "7") -> ComparisonOutcome:
    resolve(phone=PHONE, max_id=max_id, university_id=1)
    assert compare_waiting(60, pause=lambda _: None) == 1
    return ComparisonOutcome(Comparison.objects.latest("pk").outcome)


def test_it_works(direct: FakeMax) -> None:
    add_profile("7", "Олег", "Сидоров", age=timedelta(days=3))
    direct.knows(PHONE, 7)
    assert outcome_of() == ComparisonOutcome.AGREE
    row = Comparison.objects.get()
    assert (row.stage, row.served_source, row.cache_name, row.api_name) == (2, "api", "О… С…", "О… С…")
    assert row.cache_age_days == pytest.approx(3, abs=0.01)
    assert PHONE not in row.key_hash
    assert not WaitingComparison.objects.exists()
    # The direct API had answered the lookup itself: it was not asked a second time.
    assert len(direct.requests) == 1


@pytest.mark.parametrize(
    ("cache_name", "api_name", "outcome"),
    [
        ("Олег Сидоров", "Олег Сидоров", "agree"),
        ("Пётр  Алёхин", "алехин ПЕТР", "equivalent"),
        ("Олег Сидоров", "Олег", "cache_richer"),
        ("Олег", "Олег Сидоров", "api_richer"),
        ("Олег Сидоров", "Иван Сидоров", "conflict"),
        ("Олег Сидоров", "Неизвестно Неизвестно", "cache_richer"),
        ("Неизвестно", "Неизвестно Неизвестно", "both_empty"),
        ("", "", "both_empty"),
        ("", "Олег", "api_richer"),
    ],
)
def test_two_names(cache_name: str, api_name: str, outcome: str) -> None:
    assert classify_names(cache_name, api_name) == outcome


@given(st.lists(st.sampled_from(["Олег", "Пётр", "петр", "Неизвестно", "O"]), max_size=3).map(" ".join))
def test_a_name_agrees_with_itself_or_says_nothing(name: str) -> None:
    assert classify_names(name, name) in ("agree", "both_empty")


def profile(first: str, last: str, own: str = "", age: timedelta = timedelta()) -> CachedProfile:
    return CachedProfile("7", first, last, own, timezone.now() - age, "webhook")


def test_misses_and_stale_profiles() -> None:
    assert classify(None, "Олег") == "cache_miss"
    assert classify(None, "") == "both_empty"
    assert classify(profile("", ""), "Олег") == "cache_miss"
    assert classify(profile("Олег", "", age=timedelta(days=31)), "Олег") == "cache_stale"
    assert classify(profile("Олег", "", own="Князь"), "Олег Сидоров") == "cache_richer"


@pytest.mark.parametrize(
    ("cache_name", "api_name", "pattern"),
    [
        ("Oleg Sidorov", "Олег Сидоров", "script"),
        ("Анна Петрова", "Анна Иванова", "last_name"),
        ("Аня Петрова", "Анна Петрова", "first_name"),
        ("Олег Сидоров", "Иван Петров", "both_names"),
    ],
)
def test_conflicts_have_a_pattern(cache_name: str, api_name: str, pattern: str) -> None:
    assert conflict_pattern(cache_name, api_name) == pattern
    assert conflict_pattern(api_name, cache_name) == pattern


@pytest.mark.long
def test_faults_are_outcomes(direct: FakeMax, settings: Settings, redis_server: FaultyServer) -> None:
    direct.status = 500
    assert outcome_of() == ComparisonOutcome.API_ERROR
    patience = settings.MAX_API_TIMEOUT
    direct.status, direct.delay = 200, 30
    settings.MAX_API_TIMEOUT = timedelta(seconds=0.2)
    assert outcome_of() == ComparisonOutcome.TIMEOUT
    direct.delay, settings.MAX_API_TIMEOUT = 0, patience
    direct.knows(PHONE, 7)
    redis_server.kill()
    assert outcome_of() == ComparisonOutcome.CACHE_ERROR


def test_a_hanging_api_is_not_waited_for(
    api: APIClient, university: University, direct: FakeMax, phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases(100, 100, 100)
    direct.delay = 30
    added: list[list[str]] = []

    def counted(lookup: WaitingComparison) -> None:
        with CaptureQueriesContext(connection) as captured:
            enqueue(lookup)
        added.append([query["sql"].split()[0] for query in captured])

    monkeypatch.setattr("profiles.comparison.enqueue", counted)
    started = time.perf_counter()
    for number in range(20):
        add_profile(str(number + 1))
        body = {"phone": f"+7916000{number:04d}", "max_id": str(number + 1), "university_id": university.pk}
        assert api.post("/employees", body, format="json").json()["profile_source"] == "webhook"
    assert time.perf_counter() - started < direct.delay
    # It costs one insert. The flags are read each time only because this transaction has changed them.
    assert added == [["SELECT", "SAVEPOINT", "INSERT", "RELEASE"]] * 20
    assert WaitingComparison.objects.count() == 20
    assert not direct.requests


def test_it_stops_in_time_and_leaves_the_rest(direct: FakeMax, phases: Phases) -> None:
    phases(100, 100, 100)
    add_profile("7")
    for number in range(4):
        resolve(phone=f"+7916000000{number}", max_id="7", university_id=1)
    assert compare_waiting(0.0) == 0
    assert compare_waiting(0.3) < 4
    assert WaitingComparison.objects.count() + Comparison.objects.count() == 4


def test_it_drops_old_lookups(direct: FakeMax) -> None:
    resolve(phone=PHONE, max_id="7", university_id=1)
    WaitingComparison.objects.update(asked_at=timezone.now() - timedelta(hours=1))
    assert compare_waiting(1) == 0
    assert not WaitingComparison.objects.exists()


@pytest.mark.parametrize("percents", [(), (100,), (100, 100), (100, 100, 100), (100, 100, 100, 100)])
def test_phases_2_and_3_compare(phases: Phases, direct: FakeMax, percents: tuple[int, ...]) -> None:
    phases(*percents)
    resolve(phone=PHONE, max_id="7", university_id=1)
    assert WaitingComparison.objects.exists() == (len(percents) in COMPARED_STAGES)


def test_a_masked_name_hides_the_person() -> None:
    assert masked("Анна-Мария фон Петрова") == "А… ф… П…"
