from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.http import QueryDict
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from config.lib import text as texts
from employees.api.serializers import ORDERINGS, filter_employees
from employees.models import Employee, University
from employees.models import employee as employee_module

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


@pytest.mark.parametrize("query", ["search=ИВАН", "query=иван", "search=иван ", "q=ИВАН", "search=&q=иван"])
def test_it_finds_cyrillic_in_any_case(api: APIClient, people: list[Employee], query: str) -> None:
    assert found(api, query) == ["Петров", "Иванова"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(categories=["Lu", "Lt", "Ll", "Lo", "Mn", "Zs"]), min_size=1, max_size=20))
@example("İsmailov")
@example("ΑΛΕΞΗΣ ΣΣ")
@example("ẞ ǅ ŉ Ⅷ")
def test_it_finds_a_name_as_it_is_stored(university: University, name: str) -> None:
    """Whatever the small letters of its capitals are."""
    if (stored := texts.clean(name)) and texts.is_visible(stored):
        with transaction.atomic():
            Employee.objects.create(phone="+79160000000", first_name="", last_name=stored, university=university)
            found = [list(Employee.objects.matching(word)) for word in (stored, *stored.split())]
            transaction.set_rollback(True)
        assert all(len(rows) == 1 for rows in found), stored


@pytest.mark.parametrize("query", ["search=%25", "search=_", "search=%00", "search=нет"])
def test_it_takes_wildcards_literally(api: APIClient, people: list[Employee], query: str) -> None:
    assert len(found(api, query)) == (3 if "%00" in query else 0)


def test_it_pages_under_the_clients_own_prefix(api: APIClient, people: list[Employee]) -> None:
    body = api.get("/api/v1/employees/?limit=2").json()
    assert len(body["results"]) == 2
    assert body["next"] == "http://testserver/api/v1/employees/?limit=2&offset=2"
    assert len(api.get("/employees?limit=1000").json()["results"]) == 3


ODD = ["limit=x", "limit=-5", "limit=0", "limit=1.5", "limit=1e1", "limit=%D9%A5", "limit=%2B5", "offset=-1",
       "offset=x", "offset=99999999999999999999", "limit=1 0", "offset=1_0", "limit=%205%20",
       "offset=5%20"]  # fmt: skip
LISTS = ["employees", "employees/all", "employees/batch-jobs", "universities", "monitoring/alerts"]


@pytest.mark.parametrize("path", LISTS)
def test_it_refuses_an_odd_page(api: APIClient, path: str) -> None:
    for query in ODD:
        answer = api.get(f"/{path}?{query}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_ERROR"), query
        assert list(answer.json()["error"]["details"]) == [query.partition("=")[0]]


@pytest.mark.parametrize("path", LISTS)
def test_it_serves_every_other_page(api: APIClient, path: str) -> None:
    for query in ("limit=&offset=", f"limit={2**63 - 1}", f"offset={2**63 - 1}", "offset=007"):
        assert api.get(f"/{path}?{query}").status_code == 200, query


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


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("search=ив", ["Петров", "Иванова"]),
        ("search=ва", []),
        ("search=ван", ["Петров", "Иванова"]),
        ("search=иван петр", ["Петров"]),
        ("search=8 916 000-00-01", ["Иванова"]),
        ("search=%2B7916", ["Петров", "Иванова", "Сидоров"]),
        ("search=9160000002", ["Сидоров"]),
        ("search=0002", ["Сидоров"]),
    ],
)
def test_it_searches_words_and_phones(api: APIClient, people: list[Employee], query: str, expected: list[str]) -> None:
    assert found(api, query) == expected


def test_wildcards_find_themselves(api: APIClient, people: list[Employee]) -> None:
    people[0].last_name = r"100%_\я"
    people[0].save()
    for text in ("%25", "_", "%5C", "0%25_", "%25_%5Cя"):
        expected = 1 if len(text) > 4 else 0
        assert len(found(api, f"search={text}")) == expected, text
    people[0].last_name = "%x"
    people[0].save()
    assert found(api, "search=%25") == ["%x"]


def test_it_filters(api: APIClient, people: list[Employee]) -> None:
    other = University.objects.create(name="Другой")
    Employee.objects.filter(pk=people[0].pk).update(university=other, profile_source="webhook", role="curator")
    for query in (f"university_id={other.pk}", "profile_source=webhook", "role=curator"):
        assert found(api, query) == ["Петров"]
        assert api.get(f"/employees?{query}").json()["count"] == 1
    assert len(found(api, "search=&university_id=&profile_source=&role=&ordering=")) == 3


@pytest.mark.parametrize(
    ("ordering", "expected"),
    [
        ("last_name", ["Иванова", "Петров", "Сидоров"]),
        ("-last_name", ["Сидоров", "Петров", "Иванова"]),
        ("-id", ["Сидоров", "Иванова", "Петров"]),
        ("-phone", ["Сидоров", "Иванова", "Петров"]),
        ("last_name,first_name", ["Иванова", "Петров", "Сидоров"]),
    ],
)
@pytest.mark.parametrize("name", ["ordering", "sort_by"])
def test_it_orders(api: APIClient, people: list[Employee], name: str, ordering: str, expected: list[str]) -> None:
    assert found(api, f"{name}={ordering}") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort_by=last_name&sort_order=asc", ["Иванова", "Петров", "Сидоров"]),
        ("sort_by=last_name&sort_order=desc", ["Сидоров", "Петров", "Иванова"]),
        ("sort_by=-last_name&sort_order=asc", ["Иванова", "Петров", "Сидоров"]),
        ("sort_order=desc", ["Сидоров", "Иванова", "Петров"]),
        ("ordering=last_name&sort_by=-id", ["Иванова", "Петров", "Сидоров"]),
        ("sort_by=&sort_order=", ["Петров", "Иванова", "Сидоров"]),
        ("search=9160000001&q=Петров", ["Иванова"]),
    ],
)
def test_it_understands_the_names_of_other_services(
    api: APIClient, people: list[Employee], query: str, expected: list[str]
) -> None:
    assert found(api, query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "university_id=x",
        "profile_source=x",
        "role=x",
        "ordering=university__name",
        "ordering=id;",
        "university_id=-1",
        "university_id=%EF%BC%99",
        "university_id=1.0",
        "university_id=%2B5",
        "university_id=%205%20",
        "ordering=first_name",
        "ordering=last_name,-first_name",
        "sort_by=university__name",
        "sort_order=sideways",
        "sort_order=DESC",
        f"q={'а' * 201}",
    ],
)
def test_it_refuses_what_it_cannot_filter_by(api: APIClient, people: list[Employee], query: str) -> None:
    answer = api.get(f"/employees?{query}")
    assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, [query.split("=", maxsplit=1)[0]])


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("name", ORDERINGS)
def test_an_index_serves_every_ordering(people: list[Employee], sign: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = filter_employees(Employee.objects.all(), QueryDict(f"ordering={sign}{name}")).explain()
    assert "Index Scan" in plan
    assert "Sort" not in plan


def test_equals_are_in_order_too(api: APIClient, people: list[Employee]) -> None:
    Employee.objects.update(last_name="Ким")
    names = [row["first_name"] for row in api.get("/employees?ordering=-last_name").json()["results"]]
    assert names == ["Пётр", "Иван", "Анна"]


def test_all_is_the_list(api: APIClient, people: list[Employee]) -> None:
    assert api.get("/employees/all?search=иван").json() == api.get("/employees?search=иван").json()


def test_the_search_is_answered_by_the_index(people: list[Employee]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    for text in ("иван", "ив", "и", "иван петр"):
        assert "idx_employees_scoped_search" in Employee.objects.matching(text).order_by().explain()


def test_a_search_within_a_university_gathers_only_its_own(people: list[Employee], university: University) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        # With so few rows they would be preferred.
        cursor.execute("DROP INDEX idx_employees_university_id, idx_employees_univ_created")
    plan = Employee.objects.of_university(university.pk).matching("иван").order_by().explain()
    assert "idx_employees_scoped_search" in plan
    assert "Index Cond: ((university_id = " in plan


def test_trigrams_know_cyrillic(people: list[Employee]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT show_trgm('Иванов')")
        assert cursor.fetchone() != ([],)


def test_the_count_is_exact_to_its_limit_and_estimated_above(
    api: APIClient, people: list[Employee], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(employee_module, "EXACT", 3)
    assert api.get("/employees").json()["count"] == 3
    monkeypatch.setattr(employee_module, "EXACT", 2)
    monkeypatch.setattr(employee_module, "estimate", lambda rows: 17)
    assert api.get("/employees").json()["count"] == 17
    assert api.get("/employees?search=иван").json()["count"] == 2
