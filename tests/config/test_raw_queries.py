"""Queries that are not percent-encoded, as curl sends them: the same rows and right links."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIRequest
from django.db import transaction
from django.test.client import ClientHandler
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from config.lib import text as texts
from config.rsgi.wsgi_environ import wsgi_environ
from employees.models import Employee, University
from tests.conftest import bearer
from tests.webhooks.sending import RequestScope

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
ROWS = 3


def get(user: User, url: str) -> Any:
    """Return the JSON of the response to what the web server passes on, in the transaction of the test."""
    headers = {"host": "testserver", "authorization": bearer(user)}
    parts = urlsplit(url)
    scope: Any = RequestScope("GET", parts.path, headers, query_string=parts.query)
    response: Any = ClientHandler()(wsgi_environ(scope))
    assert response.status_code == 200, url
    return json.loads(response.content)


def followed(user: User, url: str) -> Iterator[int]:
    while url:
        page = get(user, url)
        yield from (row["id"] for row in page["results"])
        if page["previous"]:
            assert page["previous"].isascii()
        url = page["next"]


def raw(text: str) -> str:
    return "".join(letter if ord(letter) > 127 else quote(letter, safe="") for letter in text)


@pytest.mark.long
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=20))
@example("Щукина")
@example("Ñandú & 李+1%")
def test_the_links_of_a_search_lead_to_every_row_once(superadmin: User, university: University, text: str) -> None:
    with transaction.atomic():
        phones = (f"+7916000000{number}" for number in range(ROWS))
        name = texts.clean(text)[:100] or "Я"
        Employee.objects.bulk_create(Employee(phone=phone, last_name=name, university=university) for phone in phones)
        wanted = [row["id"] for row in get(superadmin, f"/employees?search={quote(text, safe='')}")["results"]]
        for spelled in (raw(text), quote(text, safe="")):
            assert list(followed(superadmin, f"/employees?search={spelled}&limit=1&ordering=id")) == wanted
        transaction.set_rollback(True)


@pytest.mark.parametrize("query", ["x=\udcff\udcfe", "x=\ud800", "x=%FF", "x=\x7f\x01"])
def test_what_is_no_text_is_replaced(query: str) -> None:
    scope: Any = RequestScope("GET", "/", {}, query_string=query)
    request = WSGIRequest(wsgi_environ(scope))
    assert request.META["QUERY_STRING"].isascii()
    assert request.GET["x"]
