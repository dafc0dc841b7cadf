"""A name without a visible letter, digit or emoji is absent, however it arrives."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from employees.models import University
from profiles.models import Profile
from tests.webhooks.sending import send
from webhooks.processing import process_inbox

CASES = Path(__file__).parents[1] / "cases"
INVISIBLE = ["\uffa0", "\u115f", "\u3164 \u1160", "\ufe0f", "\u2800", "\u0301", "\u034f", "\U000e0100", "-", "…"]
PHONE = "+79160900031"

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache_first")]


def create(api: APIClient, university: University, **fields: Any) -> dict[str, Any]:
    employee = {"phone": PHONE, "university_id": university.pk, **fields}
    answer: dict[str, Any] = api.post("/employees", employee, format="json").json()
    return answer


def assert_nameless(employee: dict[str, Any]) -> None:
    names = (employee["first_name"], employee["last_name"], employee["profile_source"])
    assert names == ("Неизвестно", "Неизвестно", "default")


@pytest.mark.parametrize("path", sorted(CASES.glob("name-only-*.json")), ids=lambda path: path.stem)
def test_a_webhook_name_is_absent(api: APIClient, university: University, path: Path) -> None:
    update = json.loads(path.read_bytes())
    assert send(update).status == 200
    process_inbox()
    assert not Profile.objects.exists()
    assert_nameless(create(api, university, max_id=str(update["message"]["sender"]["user_id"])))


@pytest.mark.parametrize("name", INVISIBLE)
def test_a_name_in_the_api_is_absent(api: APIClient, university: University, name: str) -> None:
    assert_nameless(create(api, university, first_name=name, last_name=name, middle_name=name))


def test_the_own_name_of_the_case_is_refused(api: APIClient) -> None:
    case = json.loads((CASES / "own-name-halfwidth-filler.json").read_text())
    answer = api.post(case["path"].removeprefix("POST "), case["body"], format="json")
    assert answer.status_code == case["expected"]


@pytest.mark.parametrize("name", INVISIBLE)
def test_an_own_name_is_refused_or_ignored(api: APIClient, client: Client, superadmin: User, name: str) -> None:
    assert api.post("/profiles/870007/name", {"name": name}, format="json").status_code == 400
    assert api.put("/profiles/870007", {"user_provided_name": name}, format="json").status_code == 400
    client.force_login(superadmin)
    form = {"user_id": "870007", "first_name": "", "last_name": "", "user_provided_name": name}
    assert client.post("/admin/profiles/profile/add/", form).status_code == 200
    message = {"recipient": {"chat_type": "dialog"}, "body": {"mid": "1", "text": f"/setname {name}"}}
    send({"update_type": "message_created", "message": message | {"sender": {"user_id": 870007}}})
    process_inbox()
    assert not Profile.objects.exclude(user_provided_name=None).exists()
