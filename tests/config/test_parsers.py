"""JSON bodies: lone surrogates, which no response could encode, deep nesting, and what is not JSON."""

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from employees.models import Employee, University

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]
HALF = r'"\ud800"'


@pytest.mark.parametrize("field", ["role", "phone", "max_id", "university_id", "inn"])
def test_it_quotes_a_lone_surrogate(api: APIClient, university: University, field: str) -> None:
    body = f'{{"phone": "+79165550142", "university_id": {university.pk}, "{field}": {HALF}}}'
    answer = api.post("/employees", body, content_type="application/json")
    assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, [field])


def test_it_stores_a_name_without_it(api: APIClient, university: University) -> None:
    body = rf'{{"phone": "+79165550142", "university_id": {university.pk}, "first_name": "\ud800А", "last_name": "А"}}'
    assert api.post("/employees", body, content_type="application/json").status_code == 201
    assert Employee.objects.get().first_name == "\N{REPLACEMENT CHARACTER}А"


def test_it_cleans_every_text_but_passwords(superadmin: User) -> None:
    password = "a  b\x1b\u202ec"
    superadmin.set_password(password)
    superadmin.save()
    answer = APIClient().post("/api/token", {"username": "\u202eroot\x1b ", "password": password}, format="json")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"phone" 1}', "The body is not valid JSON (character 10)."),
        (b"}", "The body is not valid JSON."),
        (b"\xff", "The body is not valid JSON."),
        (b'{"phone": NaN}', "The body is not valid JSON."),
    ],
)
def test_it_refuses_what_is_not_json(api: APIClient, body: bytes, message: str) -> None:
    answer = api.post("/employees", body, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)


@pytest.mark.parametrize("path", ["/employees/999", "/employees/by-max-id/999", "/employees/batch-jobs/999"])
def test_it_answers_not_found_in_our_words(api: APIClient, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "Not found.")


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000])
def test_it_refuses_deep_nesting(api: APIClient, body: str) -> None:
    assert api.post("/employees", body, content_type="application/json").status_code == 400
