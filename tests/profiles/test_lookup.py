"""Who answers for a name, in each phase and under each fault."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from profiles.lookup import resolve
from profiles.models import DirectAnswer, ProfileSource
from profiles.name_rule import NameChoice
from tests.conftest import Phases
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile
from tests.servers import FaultyServer

PHONE = "+79161234567"
OFF, PHASE1, PHASE2, PHASE3 = (), (100,), (100, 100), (100, 100, 100)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def named(choice: NameChoice) -> tuple[str, str, ProfileSource]:
    return choice.first_name, choice.last_name, choice.source


UNKNOWN = ("Неизвестно", "Неизвестно", ProfileSource.DEFAULT)
CACHED = ("Иван", "Петров", ProfileSource.WEBHOOK)
DIRECT = ("Олег", "Сидоров", ProfileSource.API)


def minutes_later() -> None:
    """Delete the direct API's stored answers."""
    DirectAnswer.objects.all().delete()


@pytest.mark.parametrize("percents", [OFF, PHASE1, PHASE2, PHASE3])
def test_names_in_the_request_hold_in_every_phase(phases: Phases, percents: tuple[int, ...], direct: FakeMax) -> None:
    phases(*percents)
    add_profile("7")
    given = resolve(phone=PHONE, max_id="7", university_id=None, first_name="Анна", last_name="Иванова")
    assert named(given) == ("Анна", "Иванова", ProfileSource.MANUAL)
    assert given.updated_at is None
    assert not direct.requests


@pytest.mark.parametrize("percents", [OFF, PHASE1, PHASE2])
def test_before_phase_3_the_cache_is_not_asked(phases: Phases, percents: tuple[int, ...], direct: FakeMax) -> None:
    phases(*percents)
    add_profile("7")
    assert named(resolve(phone=PHONE, max_id="7", university_id=None)) == UNKNOWN
    direct.knows(PHONE, 7)
    minutes_later()
    assert named(resolve(phone=PHONE, max_id="7", university_id=None)) == DIRECT


def test_from_phase_3_the_cache_answers_first(cache_first: None, direct: FakeMax) -> None:
    profile = add_profile("7")
    direct.knows(PHONE, 7)
    found = resolve(phone=PHONE, max_id="7", university_id=None)
    assert named(found) == CACHED
    assert (found.updated_at, found.max_id) == (profile.last_updated, "7")
    assert not direct.requests


def test_an_own_name_beats_the_name_of_max_and_never_expires(cache_first: None) -> None:
    add_profile("7", own_name="Ваня Петров Сергеевич", age=timedelta(days=400))
    found = resolve(phone=PHONE, max_id="7", university_id=None)
    assert (found.first_name, found.last_name, found.middle_name) == ("Ваня", "Петров", "Сергеевич")
    assert found.source == ProfileSource.USER_INPUT


def test_a_lone_name_is_kept_and_the_rest_looked_up(cache_first: None) -> None:
    add_profile("7")
    found = resolve(phone=PHONE, max_id="7", university_id=None, first_name="Анна")
    assert named(found) == ("Анна", "Петров", ProfileSource.MANUAL)
    assert found.updated_at is None


def test_a_miss_asks_the_direct_api(cache_first: None, direct: FakeMax) -> None:
    direct.knows(PHONE, 7)
    found = resolve(phone=PHONE, max_id=None, university_id=None)
    assert named(found) == DIRECT
    assert found.max_id == "7"
    assert found.updated_at
    assert timezone.now() - found.updated_at < timedelta(minutes=1)


def test_the_direct_apis_id_leads_to_the_cache(cache_first: None, direct: FakeMax) -> None:
    add_profile("7")
    direct.knows(PHONE, 7)
    assert named(resolve(phone=PHONE, max_id=None, university_id=None)) == CACHED


def test_a_stale_name_is_not_served(cache_first: None, direct: FakeMax, settings: Settings) -> None:
    add_profile("7", age=settings.PROFILE_TTL + timedelta(seconds=1))
    assert named(resolve(phone=PHONE, max_id="7", university_id=None)) == UNKNOWN
    direct.knows(PHONE, 7)
    minutes_later()
    assert named(resolve(phone=PHONE, max_id="7", university_id=None)) == DIRECT


def test_a_partial_name_yields_to_a_full_one(cache_first: None, direct: FakeMax) -> None:
    add_profile("7", last_name=None)
    assert named(resolve(phone=PHONE, max_id="7", university_id=None)) == ("Иван", "", ProfileSource.WEBHOOK)
    direct.knows(PHONE, 7)
    minutes_later()
    assert named(resolve(phone=PHONE, max_id="7", university_id=None)) == DIRECT


def test_a_person_known_to_have_no_last_name_is_complete(cache_first: None, direct: FakeMax) -> None:
    add_profile("7", last_name="")
    direct.knows(PHONE, 7)
    assert named(resolve(phone=PHONE, max_id="7", university_id=None)) == ("Иван", "", ProfileSource.WEBHOOK)
    assert not direct.requests


def test_without_a_token_the_direct_api_is_never_asked(cache_first: None, direct: FakeMax, settings: Settings) -> None:
    settings.MAX_BOT_TOKEN = ""
    assert named(resolve(phone=PHONE, max_id="7", university_id=None)) == UNKNOWN
    assert not direct.requests


def test_a_failing_direct_api_leaves_the_unknown_name(cache_first: None, direct: FakeMax) -> None:
    direct.status = 500
    assert named(resolve(phone=PHONE, max_id="7", university_id=None)) == UNKNOWN


def test_a_lost_redis_is_refilled_on_read(cache_first: None, redis: object) -> None:
    add_profile("7", is_cached=False)
    assert named(resolve(phone=PHONE, max_id="7", university_id=None)) == CACHED
    assert redis.exists("profile:user:7")  # type: ignore[attr-defined]


@pytest.mark.long
@pytest.mark.parametrize("fault", ["pause", "kill"])
def test_a_stopped_redis_leaves_the_record(cache_first: None, redis_server: FaultyServer, fault: str) -> None:
    add_profile("7")
    getattr(redis_server, fault)()
    assert named(resolve(phone=PHONE, max_id="7", university_id=None)) == CACHED
    assert named(resolve(phone=PHONE, max_id="8", university_id=None)) == UNKNOWN
