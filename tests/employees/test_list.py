from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from employees.models import Employee, University

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(university: University) -> list[Employee]:
    names = [("Иван", "Петров"), ("Анна", "Иванова"), ("Пётр", "Сидоров")]
    return [
        Employee.objects.create(phone=f"+7916000000{n}", first_name=first, last_name=last, university=university)
        for n, (first, last) in enumerate(names)
    ]


def found(api: APIClient, query: str) -> list[str]:
    return [row["last_name"] for row in api.get(f"/employees?{query}").json()["results"]]


def test_it_works(api: APIClient, people: list[Employee]) -> None:
    body = api.get("/employees").json()
    assert (body["count"], body["next"], body["previous"]) == (3, None, None)
    assert [row["id"] for row in body["results"]] == [person.pk for person in people]


@pytest.mark.parametrize("query", ["search=ИВАН", "query=иван", "search=иван "])
def test_it_finds_cyrillic_in_any_case(api: APIClient, people: list[Employee], query: str) -> None:
    assert found(api, query) == ["Петров", "Иванова"]


@pytest.mark.parametrize("query", ["search=%25", "search=_", "search=%00", "search=нет"])
def test_it_takes_wildcards_literally(api: APIClient, people: list[Employee], query: str) -> None:
    assert len(found(api, query)) == (3 if "%00" in query else 0)


def test_it_pages_under_the_clients_own_prefix(api: APIClient, people: list[Employee]) -> None:
    body = api.get("/api/v1/employees/?limit=2").json()
    assert len(body["results"]) == 2
    assert body["next"] == "http://testserver/api/v1/employees/?limit=2&offset=2"
    assert len(api.get("/employees?limit=1000").json()["results"]) == 3


@pytest.mark.parametrize("query", ["limit=x&offset=-1", "limit=-5", "limit=0", "offset=99999999999999999999"])
def test_odd_pages_are_no_error(api: APIClient, people: list[Employee], query: str) -> None:
    assert api.get(f"/employees?{query}").status_code == 200


def test_it_asks_a_constant_number_of_queries(
    api: APIClient, people: list[Employee], django_assert_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_num_queries(3):
        api.get("/employees")


def test_it_shows_one(api: APIClient, people: list[Employee]) -> None:
    assert api.get(f"/employees/{people[1].pk}").json()["last_name"] == "Иванова"


@pytest.mark.parametrize("employee_id", ["999999", "0", "999999999999999999", "9" * 30, "abc"])
def test_an_unknown_one_is_404(api: APIClient, employee_id: str) -> None:
    answer = api.get(f"/employees/{employee_id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
