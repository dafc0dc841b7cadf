import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from employees.models import Employee, University
from tests.conftest import client_of
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile
from tests.profiles.test_phones import SPELLINGS
from tests.servers import FaultyServer
from tests.webhooks.sending import send
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]


def create(api: APIClient, university: University, **fields: Any) -> Any:
    return api.post("/employees", {"phone": "+1234567890", "university_id": university.pk} | fields, format="json")


def test_it_works(api: APIClient, university: University) -> None:
    profile = add_profile("test_user", "Test", "User")
    answer = create(api, university, max_id="test_user", role="curator")
    assert answer.status_code == 201
    body = answer.json()
    assert Employee.objects.get().pk == body.pop("id")
    assert body.pop("created_at")[:10] == body.pop("updated_at")[:10] == body.pop("max_id_updated_at")[:10]
    assert body.pop("university")["name"] == "Университет"
    assert body == {
        "phone": "+1234567890",
        "first_name": "Test",
        "last_name": "User",
        "middle_name": "",
        "max_id": "test_user",
        "role": "curator",
        "university_id": university.pk,
        "profile_source": "webhook",
        "profile_last_updated": profile.last_updated.isoformat().replace("+00:00", "Z"),
    }


def test_an_unknown_person_has_no_name(api: APIClient, university: University) -> None:
    body = create(api, university, max_id="test_user").json()
    assert (body["first_name"], body["profile_source"], body["profile_last_updated"]) == ("Неизвестно", "default", None)


def test_names_in_the_request_are_cleaned_and_manual(api: APIClient, university: University) -> None:
    body = create(api, university, first_name=" Анна\u200b ", last_name="я" * 150, middle_name="И\u0306").json()
    assert (body["first_name"], body["last_name"], body["middle_name"]) == ("Анна", "я" * 100, "Й")
    assert (body["profile_source"], body["profile_last_updated"]) == ("manual", None)


def test_an_empty_max_id_is_none(api: APIClient, university: University) -> None:
    assert create(api, university, max_id="").json()["max_id"] is None


def test_a_number_is_a_max_id(api: APIClient, university: University) -> None:
    assert create(api, university, max_id=42).json()["max_id"] == "42"


def test_the_direct_api_answers_a_miss(api: APIClient, university: University, direct: FakeMax) -> None:
    direct.knows("+1234567890", 42, "Олег", "Сидоров")
    body = create(api, university).json()
    assert (body["first_name"], body["max_id"], body["profile_source"]) == ("Олег", "42", "api")


def test_a_refused_phone_leaves_no_new_university(api: APIClient, university: University) -> None:
    Employee.objects.create(phone="+12345678901", university=university)
    body = {"phone": "+12345678901", "university_name": "Новый"}
    assert api.post("/employees", body, format="json").status_code == 409
    assert list(University.objects.all()) == [university]


def test_a_university_may_be_described(api: APIClient) -> None:
    def university_of(phone: str, **described: str) -> Any:
        return api.post("/employees", {"phone": phone, **described}, format="json").json()["university"]

    first = university_of("+12345678901", inn="7701234567", kpp="770101001", university_name="МГУ")
    assert (first["name"], first["inn"], first["kpp"]) == ("МГУ", "7701234567", "770101001")
    assert university_of("+12345678902", inn="7701234567", kpp="770101001")["id"] == first["id"]
    assert university_of("+12345678903", inn="7701234567", kpp="770101002")["id"] != first["id"]
    named = university_of("+12345678904", university_name="СПбГУ")
    assert university_of("+12345678905", university_name="СПбГУ")["id"] == named["id"]


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"phone": "123"}, "phone"),
    ({"phone": ""}, "phone"),
    ({"phone": "916 51\n512 35 00"}, "phone"),
    ({"phone": "916123\u20284567"}, "phone"),
    ({"phone": None}, "phone"),
    ({"phone": ["+1234567890"]}, "phone"),
    ({"university_id": 10**6}, "university_id"),
    ({"university_id": "x"}, "university_id"),
    ({"university_id": 10**30}, "university_id"),
    ({"university_id": True}, "university_id"),
    ({"university_id": 1.5}, "university_id"),
    ({"university_id": 1e300}, "university_id"),
    ({"university_id": "١"}, "university_id"),
    ({"university_id": [[[1]]]}, "university_id"),
    ({"phone": 999123456.0}, "phone"),
    ({"phone": 89161234567}, "phone"),
    ({"first_name": 12}, "first_name"),
    ({"last_name": int("1" * 200)}, "last_name"),
    ({"middle_name": True}, "middle_name"),
    ({"max_id": 2**63}, "max_id"),
    ({"max_id": "a b"}, "max_id"),
    ({"max_id": "123\n456"}, "max_id"),
    ({"max_id": {}}, "max_id"),
    ({"role": "boss"}, "role"),
    ({"first_name": {"a": 1}}, "first_name"),
    ({"first_name": None}, "first_name"),
]


def test_it_refuses_a_bad_field(api: APIClient, university: University) -> None:
    for fields, field in BAD_FIELDS:
        answer = create(api, university, **fields)
        assert answer.status_code == 400, fields
        error = answer.json()["error"]
        assert (error["code"], list(error["details"])) == ("VALIDATION_ERROR", [field]), fields
        assert not Employee.objects.exists(), fields


def test_it_names_every_bad_field(api: APIClient) -> None:
    details = api.post("/employees", {"phone": "1", "role": "x", "max_id": "я"}, format="json").json()["error"][
        "details"
    ]
    assert sorted(details) == ["max_id", "phone", "role"]


@pytest.mark.parametrize(
    "body", [b"{bad", b"[1]", b"1", b'"x"', b"null", b"", b"\xff", b"[" * 100_000, b'{"phone": NaN}']
)
def test_it_refuses_a_body_that_is_no_object(api: APIClient, body: bytes) -> None:
    answer = api.post("/employees", body, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_ERROR")


def test_it_refuses_without_a_university(api: APIClient) -> None:
    assert "university_id" in api.post("/employees", {"phone": "+1234567890"}, format="json").json()["error"]["details"]


def test_it_refuses_strangers_and_other_types(client: Client, api: APIClient) -> None:
    assert client.post("/employees", "{}", content_type="application/json").status_code == 401
    assert api.post("/employees", "a=b", content_type="text/plain").json()["error"]["code"] == "UNSUPPORTED_MEDIA_TYPE"
    assert api.delete("/employees").json()["error"]["code"] == "METHOD_NOT_ALLOWED"


def test_a_second_employee_of_a_phone_is_409(api: APIClient, university: University) -> None:
    assert create(api, university, phone="+79161234567").status_code == 201
    answer = create(api, university, phone="8 (916) 123-45-67")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ALREADY_EXISTS")
    assert list(answer.json()["error"]["details"]) == ["phone"]


@pytest.mark.django_db(transaction=True)
def test_parallel_creates_of_one_phone(university: University, superadmin: User) -> None:
    def post(spelling: str) -> int:
        try:
            return int(create(client_of(superadmin), university, phone=spelling).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(SPELLINGS)) as pool:
        statuses = sorted(pool.map(post, SPELLINGS))
    assert statuses == [201] + [409] * (len(SPELLINGS) - 1)


@pytest.mark.long
@pytest.mark.parametrize("fault", ["pause", "kill"])
def test_a_stopped_redis_is_no_fault_of_the_client(
    api: APIClient, university: University, redis_server: FaultyServer, fault: str
) -> None:
    add_profile("7")
    getattr(redis_server, fault)()
    started = time.monotonic()
    answer = create(api, university, max_id="7")
    # Without a timeout of Redis, it would take longer.
    assert time.monotonic() - started < 20
    assert (answer.status_code, answer.json()["profile_source"]) == (201, "webhook")


@pytest.mark.django_db(transaction=True)
def test_the_guides_own_steps(api: APIClient, university: University) -> None:
    update = {"type": "message_new", "message": {"from": {"user_id": "test_user", "first_name": "Test"}}}
    assert send(update).status == 200
    process_inbox()
    body = create(api, university, max_id="test_user").json()
    assert (body["first_name"], body["last_name"], body["profile_source"]) == ("Test", "", "webhook")
