"""Phase 4 asks the direct API only about unknown people; outside services send X-Service."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient
from waffle.models import Switch

from profiles.lookup import resolve
from profiles.rollout.decision import forget_state
from tests.conftest import Phases
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile
from tests.servers import FaultyServer

PHONE = "+79161234567"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture(autouse=True)
def _cache_primary(phases: Phases, direct: FakeMax) -> None:
    phases(100, 100, 100, 100)
    direct.knows(PHONE, 7)


def test_nobody_knows_the_person(direct: FakeMax) -> None:
    found = resolve(phone=PHONE, max_id=None, university_id=None)
    assert (found.first_name, found.source, found.max_id) == ("Олег", "api", "7")
    assert len(direct.requests) == 1


def test_the_id_of_the_direct_api_leads_to_the_cache() -> None:
    add_profile("7")
    assert resolve(phone=PHONE, max_id=None, university_id=None).source == "webhook"


@pytest.mark.parametrize(
    ("last_name", "age"), [(None, timedelta()), ("Петров", timedelta(days=400)), (None, timedelta(days=400))]
)
def test_neither_age_nor_a_gap_is_a_reason_to_ask(direct: FakeMax, last_name: str | None, age: timedelta) -> None:
    add_profile("7", last_name=last_name, age=age)
    found = resolve(phone=PHONE, max_id="7", university_id=None)
    assert (found.first_name, found.last_name, found.source) == ("Иван", last_name or "", "webhook")
    assert not direct.requests


@pytest.mark.long
@pytest.mark.parametrize("fault", ["pause", "kill"])
def test_a_fault_of_the_cache_is_no_reason_to_ask(direct: FakeMax, redis_server: FaultyServer, fault: str) -> None:
    add_profile("7")
    getattr(redis_server, fault)()
    assert resolve(phone=PHONE, max_id="7", university_id=None).source == "webhook"
    assert not direct.requests


def test_an_unreadable_record_is_no_proof_of_absence(direct: FakeMax) -> None:
    def refuse(execute: object, sql: str, *args: object) -> object:
        if "profile_cache" in sql:
            raise OperationalError
        return execute(sql, *args)  # type: ignore[operator]

    with connection.execute_wrapper(refuse):
        assert resolve(phone=PHONE, max_id="7", university_id=None).source == "default"
    assert not direct.requests


@pytest.mark.parametrize("name", ["chat", "chat-service", "service_chat", "Chat"])
def test_a_service_is_switched_by_itself(api: APIClient, name: str) -> None:
    add_profile("7")
    assert api.get("/profiles/7", headers={"X-Service": name}).json()["source"] == "webhook"
    Switch.objects.filter(name="service_chat").update(active=False)
    forget_state()
    off = api.get("/profiles/7", headers={"X-Service": name}).json()
    assert (off["source"], off["display_name"], off["max_first_name"], off["last_updated"]) == ("default", "", "", None)
    assert api.get("/profiles/7", headers={"X-Service": "employee"}).json()["source"] == "webhook"
    assert api.get("/profiles/7").json()["source"] == "webhook"


def test_what_turns_a_service_off(api: APIClient, settings: Settings) -> None:
    add_profile("7")

    def source(service: str = "chat") -> str:
        forget_state()
        return str(api.get("/profiles/7", headers={"X-Service": service}).json()["source"])

    assert source("billing") == "default"
    settings.CHAT_SERVICE_PROFILE_ENABLED = False
    assert source() == "default"
    assert source("employee") == "webhook"
    settings.CHAT_SERVICE_PROFILE_ENABLED = True
    Switch.objects.filter(name="emergency_stop").update(active=True)
    assert source() == "default"
