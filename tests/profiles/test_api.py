from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis
from rest_framework.test import APIClient

from employees import max_id_claims
from employees.models import Employee, University
from profiles.models import PhoneLink, Profile, Tombstone
from profiles.personal_data.erasure import erase
from tests.conftest import client_of
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def test_it_works(api: APIClient) -> None:
    add_profile("7", "Иван", "Петров")
    answer = api.get("/profiles/7")
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("last_updated").startswith("20")
    assert body == {
        "user_id": "7",
        "max_first_name": "Иван",
        "max_last_name": "Петров",
        "user_provided_name": "",
        "display_name": "Иван Петров",
        "has_full_name": True,
        "source": "webhook",
    }


def test_it_reads_the_record_where_redis_has_nothing(api: APIClient) -> None:
    add_profile("7", is_cached=False)
    assert api.get("/profiles/7").json()["max_first_name"] == "Иван"


def test_it_refills_redis(api: APIClient, redis: Redis) -> None:
    add_profile("7", is_cached=False)
    api.get("/profiles/7")
    assert redis.exists("profile:user:7")


@pytest.mark.parametrize("name", [5, 1.5, True, {}, [], int("1" * 200)], ids=range(6))
def test_it_refuses_a_name_that_is_not_text(api: APIClient, name: object) -> None:
    answer = api.put("/profiles/7", {"max_first_name": name, "max_last_name": name}, format="json")
    assert answer.status_code == 400
    assert sorted(answer.json()["error"]["details"]) == ["max_first_name", "max_last_name"]


def test_an_unknown_user_has_empty_names(api: APIClient) -> None:
    body = api.get("/api/v1/profiles/nobody/").json()
    assert (body["max_first_name"], body["source"], body["last_updated"]) == ("", "default", None)


@pytest.mark.parametrize("user_id", ["0", "007", str(2**63), "a b", "имя"])
def test_it_refuses_an_invalid_id(api: APIClient, user_id: str) -> None:
    answer = api.get(f"/profiles/{user_id}")
    assert answer.status_code == 400
    assert "user_id" in answer.json()["error"]["details"]


def test_it_sets_and_clears_names(api: APIClient) -> None:
    add_profile("7", "Иван", "Петров")
    changed = api.put("/profiles/7", {"max_last_name": "", "user_provided_name": "Ваня"}, format="json").json()
    assert (changed["max_first_name"], changed["max_last_name"], changed["display_name"]) == ("Иван", "", "Ваня")
    assert changed["source"] == "user_input"
    cleared = api.put("/profiles/7", {"user_provided_name": ""}, format="json").json()
    assert (cleared["user_provided_name"], cleared["source"]) == ("", "webhook")
    assert api.get("/profiles/7").json() == cleared


def test_a_name_by_hand_is_the_latest_though_a_clock_was_ahead(api: APIClient) -> None:
    ahead = timezone.now() + timedelta(hours=1)
    add_profile("7", "Анна", "Ли", "Аня", at=ahead)
    names = {"max_first_name": "Мария", "max_last_name": "Ким", "user_provided_name": "Маша"}
    assert api.put("/profiles/7", names, format="json").json().items() >= names.items()
    api.delete("/profiles/7")
    Tombstone.objects.update(erased_at=ahead)
    assert api.post("/profiles/7/name", {"name": "Анна"}, format="json").json()["display_name"] == "Анна"


def test_it_sets_the_own_name(api: APIClient) -> None:
    assert api.post("/profiles/7/name", {"name": " Анна  Мария "}, format="json").json()["display_name"] == "Анна Мария"
    assert Profile.objects.get().user_provided_name == "Анна Мария"


@pytest.mark.parametrize("name", ["", "1", "я" * 101, None, 5, ["Анна"]])
def test_it_refuses_an_invalid_own_name(api: APIClient, name: object) -> None:
    answer = api.post("/profiles/7/name", {"name": name}, format="json")
    assert answer.status_code == 400
    assert list(answer.json()["error"]["details"]) == ["name"]


def test_it_counts(api: APIClient) -> None:
    add_profile("1", "Иван", "Петров")
    add_profile("2", "Иван", "")
    add_profile("3", "Иван", "", "Ваня")
    assert api.get("/profiles/stats").json() == {
        "total_profiles": 3,
        "profiles_with_full_name": 2,
        "profiles_by_source": {"webhook": 2, "user_input": 1},
    }


def test_it_refuses_who_has_no_permission(client: APIClient) -> None:
    assert client.get("/profiles/7").status_code == 401
    staff = client_of(User.objects.create_user("staff", is_staff=True))
    assert staff.get("/profiles/7").status_code == 403
    assert staff.put("/profiles/7", {}, format="json").status_code == 403
    assert staff.post("/profiles/7/name", {"name": "Анна"}, format="json").status_code == 403
    assert staff.delete("/profiles/7").status_code == 403


@pytest.mark.parametrize(
    ("held", "may"),
    [("view", ["view"]), ("change", []), ("view change", ["view", "change"]), ("delete", ["delete"])],
)
def test_each_action_needs_its_own_permission(held: str, may: list[str]) -> None:
    """And a change that to view, because the response shows the profile."""
    user = User.objects.create_user("service")
    for permission in held.split():
        user.user_permissions.add(Permission.objects.get(codename=f"{permission}_profile"))
    client = client_of(user)
    allowed = {
        "view": client.get("/profiles/7").status_code == 200,
        "change": client.put("/profiles/7", {"max_first_name": "А"}, format="json").status_code == 200,
        "delete": client.delete("/profiles/7").status_code == 204,
    }
    assert [name for name, is_allowed in allowed.items() if is_allowed] == may


def test_looks_and_changes_are_in_the_audit_log(api: APIClient, university: University) -> None:
    employee = Employee.objects.create(phone="+79165550142", max_id="7", university=university)
    api.get("/profiles/7")
    api.put("/profiles/7", {"max_first_name": "Анна"}, format="json")
    api.post("/profiles/7/name", {"name": "Аня"}, format="json")
    api.get("/profiles/8")
    rows = LogEntry.objects.order_by("pk").values_list("object_id", "object_repr", "user__username")
    look, change = "A person's data was read through the API", "A person's names were changed through the API"
    pk = str(employee.pk)
    assert list(rows) == [(pk, look, "root"), ("7", change, "root"), ("7", change, "root"), (None, look, "root")]
    erase("7", by="root", reason="asked to")
    assert not LogEntry.objects.filter(object_id="7", object_repr=change).exists()


def test_a_look_names_the_employee_of_the_person(api: APIClient, university: University) -> None:
    claimer = Employee.objects.create(phone="+79165550141", max_id="7", university=university)
    max_id_claims.record(claimer, is_limited=True)
    employee = Employee.objects.create(phone="+79165550142", university=university)
    PhoneLink.objects.create(phone=employee.phone, user_id="7", observed_at=timezone.now())
    api.get("/profiles/7")
    assert LogEntry.objects.get().object_id == str(employee.pk)


@pytest.mark.long
@given(st.text(st.characters(categories=["Z", "Cc"]) | st.sampled_from("\u3164\u200b"), min_size=1, max_size=3))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(" ")
@example("\x1f")
@example("\u3000")
def test_only_an_empty_text_clears_the_own_name(api: APIClient, text: str) -> None:
    if not Profile.objects.exists():
        add_profile("7", "Иван", "Петров", "Ваня")
    names = {"max_first_name": "Иван", "max_last_name": "Петров"}
    assert api.put("/profiles/7", names | {"user_provided_name": text}, format="json").status_code == 400
    assert api.get("/profiles/7").json()["user_provided_name"] == "Ваня"


def test_an_empty_text_clears_the_own_name(api: APIClient) -> None:
    add_profile("7", "Иван", "Петров", "Ваня")
    names = {"max_first_name": "Иван", "max_last_name": "Петров", "user_provided_name": ""}
    assert api.put("/profiles/7", names, format="json").json()["user_provided_name"] == ""
