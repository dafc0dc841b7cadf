"""What users of one university see and may enter over the API: nothing of others. tests/access has who may do what."""

from __future__ import annotations

from typing import Any

import pytest

from employees.models import Employee, University
from tests.employees.conftest import AsRole
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]


@pytest.mark.parametrize("role", ["curator", "operator"])
def test_counts_and_search_reveal_nothing(as_role: AsRole, role: str) -> None:
    home, other = University.objects.create(name="Свой"), University.objects.create(name="Чужой")
    Employee.objects.create(phone="+12025550100", last_name="Иванов", university=home)
    foreign = Employee.objects.create(phone="+12025550101", last_name="Иванова", max_id="9", university=other)
    client = as_role(role, home)
    for query in ["", "search=иван", f"university_id={other.pk}", "search=%2B12025550101", "ordering=-id", "role="]:
        body = client.get(f"/employees?{query}").json()
        assert all(row["university_id"] == home.pk for row in body["results"])
        assert body["count"] == len(body["results"]) <= 1
    assert client.get(f"/employees/by-max-id/{foreign.max_id}").status_code == 404
    assert [row["id"] for row in client.get("/universities").json()["results"]] == [home.pk]


def test_profiles_of_others_look_unknown(as_role: AsRole) -> None:
    home, other = University.objects.create(name="Свой"), University.objects.create(name="Чужой")
    Employee.objects.create(phone="+12025550100", max_id="7", university=home)
    Employee.objects.create(phone="+12025550101", max_id="8", university=other)
    for user_id in ("7", "8", "9"):
        add_profile(user_id, "Иван", "Петров")
    curator = as_role("curator", home)
    assert curator.get("/profiles/7").json()["display_name"] == "Иван Петров"
    for user_id in ("8", "9", "10"):
        assert curator.get(f"/profiles/{user_id}").json()["source"] == "default"
    assert curator.get("/profiles/stats").json()["total_profiles"] == 1
    assert as_role("superadmin").get("/profiles/stats").json()["total_profiles"] == 3
    assert as_role(None).get("/profiles/7").status_code == 403


def test_a_curator_makes_operators_at_home_only(as_role: AsRole) -> None:
    home, other = University.objects.create(name="Свой"), University.objects.create(name="Чужой", inn="7701234567")
    curator = as_role("curator", home)

    def create(**fields: Any) -> Any:
        names = {"first_name": "А", "last_name": "Б"}
        return curator.post("/employees", {"phone": "+12025550100"} | names | fields, format="json")

    assert create(role="curator").status_code == 403
    for foreign in ({"university_id": other.pk}, {"inn": "7701234567"}, {"university_name": "Новый"}):
        answer = create(**foreign)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_ERROR")
    assert University.objects.count() == 2
    made = create(role="operator")
    assert (made.status_code, made.json()["university_id"]) == (201, home.pk)
    moved = curator.patch(f"/employees/{made.json()['id']}", {"university_id": other.pk}, format="json")
    assert moved.status_code == 400
    assert curator.patch(f"/employees/{made.json()['id']}", {"role": "curator"}, format="json").status_code == 403
    assert create(phone="+12025550101", university_name="Свой").status_code == 201
