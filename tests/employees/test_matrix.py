"""Who may do what: every route and verb of the API, for every role, on a row of the own, a foreign and no university.

A route without a row here fails ``test_every_endpoint_has_a_row``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from employees.models import Employee, MaxIdJob, University
from tests.employees.conftest import AsRole
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]

SUPERADMIN, CURATOR, OPERATOR, NOBODY, STRANGER = "superadmin", "curator", "operator", None, "stranger"
OWN, FOREIGN, NONE = "own", "foreign", "none"
WHO = [
    (SUPERADMIN, NONE),
    (CURATOR, OWN),
    (CURATOR, FOREIGN),
    (CURATOR, NONE),
    (OPERATOR, OWN),
    (OPERATOR, FOREIGN),
    (OPERATOR, NONE),
    (NOBODY, OWN),
    (NOBODY, NONE),
    (STRANGER, NONE),
]


@dataclass(frozen=True)
class Row:
    """A verb of a route, and the statuses it gives in the order of WHO."""

    route: str
    verb: str
    statuses: tuple[int, ...]
    body: dict[str, Any] = field(default_factory=dict)


# Who:          super  curator own, foreign, none  operator own, foreign, none  nobody  stranger
READ_ROW = (200, 200, 404, 404, 200, 404, 404, 403, 403, 401)
CHANGE_ROW = (200, 200, 404, 404, 403, 403, 403, 403, 403, 401)
DELETE_ROW = (204, 204, 404, 404, 403, 403, 403, 403, 403, 401)
READ_LIST = (200, 200, 200, 200, 200, 200, 200, 403, 403, 401)
CREATE = (201, 201, 400, 400, 403, 403, 403, 403, 403, 401)
RULE = (201, 403, 403, 403, 403, 403, 403, 403, 403, 401)
RULED_LIST = (200, 403, 403, 403, 403, 403, 403, 403, 403, 401)
LOOK = (200, 200, 200, 200, 200, 200, 200, 200, 200, 401)
STAFF = (403,) * 9 + (401,)
OPEN = (200,) * 10

MATRIX = [
    Row("employees", "get", READ_LIST),
    Row("employees", "post", CREATE, {"phone": "+12025550199", "first_name": "А", "last_name": "Б"}),
    Row("employees/all", "get", READ_LIST),
    Row("employees/{employee}", "get", READ_ROW),
    Row("employees/{employee}", "put", CHANGE_ROW, {"phone": "+12025550100", "first_name": "Я"}),
    Row("employees/{employee}", "patch", CHANGE_ROW, {"last_name": "Я"}),
    Row("employees/{employee}", "delete", DELETE_ROW),
    Row("employees/by-max-id/7", "get", READ_ROW),
    Row("employees/batch-update-max-id", "post", (202, *RULE[1:])),
    Row("employees/batch-jobs", "get", RULED_LIST),
    Row("employees/batch-jobs/{job}", "get", RULED_LIST),
    Row("universities", "get", READ_LIST),
    Row("universities", "post", RULE, {"name": "Новый"}),
    Row("profiles/7", "get", LOOK),
    Row("profiles/7", "put", STAFF, {"max_first_name": "А"}),
    Row("profiles/7", "delete", (204, *RULE[1:])),
    Row("profiles/7/name", "post", STAFF, {"name": "Анна"}),
    Row("profiles/stats", "get", LOOK),
    Row("api/token", "post", (400,) * 10),
    Row("api/token/refresh", "post", (400,) * 10),
    Row("api/token/revoke", "post", (400,) * 10),
]
# Reports and operations have their own rule, one for all of them: monitoring/api/access.py and its tests.
ELSEWHERE = ("monitoring", "health", "ready", "metrics", "openapi.json", "swagger", "admin", "webhook")


def routes(patterns: list[URLPattern | URLResolver]) -> Iterator[tuple[str, str]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns)
            continue
        view: Any = pattern.callback
        if not hasattr(view, "cls") or str(pattern.pattern).lstrip("^").startswith(ELSEWHERE):
            continue
        verbs = getattr(view, "actions", None) or [
            verb for verb in view.cls.http_method_names if hasattr(view.cls, verb) and verb != "options"
        ]
        for verb in verbs:
            if verb != "head":
                yield str(pattern.pattern), verb


def resolved(row: Row) -> str:
    path = row.route.format(employee=1, job=1)
    return str(get_resolver().resolve("/" + path).route)


def test_every_endpoint_has_a_row() -> None:
    known = {(resolved(row), row.verb) for row in MATRIX}
    there = set(routes(get_resolver().url_patterns))
    assert there - known == set(), "an endpoint has no row in the matrix"
    assert known - there == set(), "a row's endpoint is gone"


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: f"{row.verb} {row.route}")
@pytest.mark.parametrize("number", range(len(WHO)), ids=[f"{role}-{whose}" for role, whose in WHO])
def test_the_cell_holds(as_role: AsRole, row: Row, number: int) -> None:
    role, whose = WHO[number]
    home, other = University.objects.create(name="Свой"), University.objects.create(name="Чужой")
    employee = Employee.objects.create(phone="+12025550100", max_id="7", university=home)
    job = MaxIdJob.objects.create()
    if row.route == "employees/batch-update-max-id":
        job.delete()
    own = {OWN: home, FOREIGN: other, NONE: None}[whose]
    client = APIClient() if role == STRANGER else as_role(role, own)
    body = row.body | ({"university_id": home.pk} if (row.route, row.verb) == ("employees", "post") else {})
    path = "/" + row.route.format(employee=employee.pk, job=job.pk)
    answer = getattr(client, row.verb)(path, body, format="json") if row.verb != "get" else client.get(path)
    assert answer.status_code == row.statuses[number], answer.content


@pytest.mark.parametrize("role", [CURATOR, OPERATOR])
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
    curator = as_role(CURATOR, home)
    assert curator.get("/profiles/7").json()["display_name"] == "Иван Петров"
    for user_id in ("8", "9", "10"):
        assert curator.get(f"/profiles/{user_id}").json()["source"] == "default"
    assert curator.get("/profiles/stats").json()["total_profiles"] == 1
    assert as_role(SUPERADMIN).get("/profiles/stats").json()["total_profiles"] == 3
    assert as_role(None).get("/profiles/7").json()["source"] == "default"


def test_a_curator_makes_operators_at_home_only(as_role: AsRole) -> None:
    home, other = University.objects.create(name="Свой"), University.objects.create(name="Чужой", inn="7701234567")
    curator = as_role(CURATOR, home)

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
