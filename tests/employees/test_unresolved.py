"""A lookup that an outage prevented is retried; one of a person absent from MAX is not."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from employees.models import Employee, University, UnresolvedName
from employees.tasks import retry_unresolved
from profiles.max_api import users
from profiles.models import WaitingComparison
from profiles.rollout.decision import forget_state
from profiles.rollout.models import Flag, UniversityRule
from profiles.rollout.phases import SHADOW
from tests.conftest import Phases
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile

PHONE = "+79161234567"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]


def create(api: APIClient, university: University, **fields: Any) -> Employee:
    answer = api.post("/employees", {"phone": PHONE, "university_id": university.pk} | fields, format="json")
    assert answer.status_code == 201
    return Employee.objects.get(pk=answer.json()["id"])


def retry(later: timedelta = timedelta(minutes=2)) -> None:
    users.breaker.close()
    UnresolvedName.objects.update(next_try_at=timezone.now() - later)
    retry_unresolved()


def test_it_works(api: APIClient, university: University, direct: FakeMax) -> None:
    direct.status = 500
    employee = create(api, university)
    assert employee.profile_source == "default"
    retry()
    assert UnresolvedName.objects.get().attempts == 1
    direct.status = 200
    direct.knows(PHONE, 7)
    retry()
    employee.refresh_from_db()
    assert (employee.first_name, employee.profile_source, employee.max_id) == ("Олег", "api", "7")
    assert employee.profile_last_updated
    assert not UnresolvedName.objects.exists()


@pytest.mark.parametrize(("is_allowed", "source"), [(False, "api"), (True, "webhook")])
def test_a_rule_for_the_university_holds_at_the_retry(
    api: APIClient, university: University, direct: FakeMax, phases: Phases, is_allowed: bool, source: str
) -> None:
    phases(100, 100, 0 if is_allowed else 100)
    Flag.objects.update_or_create(name=SHADOW, defaults={"percent": 100, "salt": "shadow"})
    direct.status = 500
    create(api, university)
    direct.status = 200
    direct.knows(PHONE, 7)
    add_profile("7")
    UniversityRule.objects.create(university_id=university.pk, phase=3, is_allowed=is_allowed, reason="r")
    WaitingComparison.objects.all().delete()
    forget_state()
    retry()
    assert Employee.objects.get().profile_source == source
    assert [waiting.university_id for waiting in WaitingComparison.objects.all()] == [university.pk]


def test_an_absent_person_is_not_retried(api: APIClient, university: University, direct: FakeMax) -> None:
    create(api, university)
    assert not UnresolvedName.objects.exists()


def test_retries_end_when_the_person_is_absent(api: APIClient, university: University, direct: FakeMax) -> None:
    direct.status = 500
    create(api, university)
    direct.status = 200
    retry()
    assert not UnresolvedName.objects.exists()
    assert Employee.objects.get().profile_source == "default"


def test_a_name_given_meanwhile_stays(api: APIClient, university: University, direct: FakeMax) -> None:
    direct.status = 500
    employee = create(api, university)
    Employee.objects.update(first_name="Анна", last_name="Иванова", profile_source="manual")
    direct.status = 200
    direct.knows(PHONE, 7)
    retry()
    employee.refresh_from_db()
    assert (employee.first_name, employee.last_name, employee.profile_source) == ("Анна", "Иванова", "manual")


def test_a_lone_name_gets_its_missing_part(api: APIClient, university: University, direct: FakeMax) -> None:
    direct.status = 500
    employee = create(api, university, first_name="Анна")
    direct.status = 200
    direct.knows(PHONE, 7)
    retry()
    employee.refresh_from_db()
    assert (employee.first_name, employee.last_name, employee.profile_source) == ("Анна", "Сидоров", "manual")


def test_a_name_by_hand_ends_the_retries(api: APIClient, university: University, direct: FakeMax) -> None:
    direct.status = 500
    employee = create(api, university)
    api.patch(f"/employees/{employee.pk}", {"first_name": "Анна", "last_name": "И"}, format="json")
    assert not UnresolvedName.objects.exists()


def test_the_delay_grows_to_an_hour() -> None:
    unresolved = UnresolvedName(attempts=0)
    waits = []
    for _ in range(12):
        unresolved.postpone()
        waits.append(round((unresolved.next_try_at - timezone.now()).total_seconds()))
    assert waits[:3] == [60, 120, 240]
    assert waits[-1] == 3600


def test_an_outage_ends_the_round(api: APIClient, university: University, direct: FakeMax) -> None:
    direct.status = 500
    for number in range(4):
        create(api, university, phone=f"+7916000000{number}")
    direct.requests.clear()
    retry()
    assert len(direct.requests) == 1
