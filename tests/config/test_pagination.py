import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from config.lib.http import pagination
from config.lib.http.pagination import BoundedPaginator
from employees.models import University


def universities(count: int) -> None:
    University.objects.bulk_create(University(name=f"Вуз {number}") for number in range(count))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE universities")


@pytest.mark.django_db
def test_it_counts_few_exactly(django_assert_num_queries: Callable[[int], Any]) -> None:
    universities(30)
    pages = BoundedPaginator(University.objects.filter(name__gt="Вуз 2"), 10)
    with django_assert_num_queries(1):
        assert (pages.count, pages.num_pages) == (17, 2)


@pytest.mark.django_db
def test_it_estimates_many(monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Callable[[int], Any]) -> None:
    monkeypatch.setattr(pagination, "EXACT", 20)
    universities(500)
    with django_assert_num_queries(2):
        assert BoundedPaginator(University.objects.order_by("name"), 10).count == pytest.approx(500, rel=0.1)
    # The planner may expect fewer than were seen.
    assert BoundedPaginator(University.objects.filter(name__endswith="1"), 10).count >= 21


@pytest.mark.django_db
def test_nothing_is_expected_of_a_condition_that_nothing_fulfils() -> None:
    assert pagination.estimate(University.objects.filter(pk=10**20)) == 0
    assert BoundedPaginator(University.objects.none(), 10).count == 0


@pytest.mark.django_db
def test_a_list_says_that_its_number_is_an_estimate(
    client: Client, superadmin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    universities(500)
    path = "/admin/employees/university/"
    assert "Total: 500" in client.get(path).content.decode()
    assert not re.search(r"\d results?\b", client.get(path).content.decode()), "the whole list has its total below"
    assert re.search(r"\n +176 results", client.get(f"{path}?q=1").content.decode())
    monkeypatch.setattr(pagination, "EXACT", 20)
    assert "Total: about " in client.get(path).content.decode()
    assert re.search(r"about \d+ results", client.get(f"{path}?q=1").content.decode())
