import json
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from pytest_django.fixtures import Settings

from webhooks.models import InboxUpdate, Repeat, State
from webhooks.receiver import LARGEST_BODY

UPDATE = {
    "update_type": "bot_started",
    "timestamp": 1775025604499,
    "chat_id": 5,
    "user": {"user_id": 7, "first_name": "Анна"},
}

pytestmark = pytest.mark.django_db


def post(client: Client, body: Any = UPDATE, content_type: str = "application/json", **headers: str) -> Any:
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.post("/webhook/max", content, content_type=content_type, headers=headers)


def states() -> list[str]:
    return list(InboxUpdate.objects.order_by("id").values_list("state", flat=True))


def test_it_works(client: Client) -> None:
    answer = post(client)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    update = InboxUpdate.objects.get()
    assert json.loads(bytes(update.body or b"")) == UPDATE
    assert (update.update_type, update.state) == ("bot_started", State.PENDING)


@pytest.mark.parametrize("path", ["/webhook/max", "/webhook/max/", "/api/v1/webhook/max", "/api/v1/webhook/max/"])
def test_each_spelling_of_the_path_is_served_without_a_redirect(client: Client, path: str) -> None:
    assert client.post(path, json.dumps(UPDATE), content_type="application/json").status_code == 200


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head", "options"])
def test_it_refuses_other_methods(client: Client, method: str) -> None:
    answer = getattr(client, method)("/webhook/max")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")


@pytest.mark.parametrize("given", ["", "wrong", "secret-number-on", "secret-number-onë"])
def test_it_refuses_a_wrong_secret_and_stores_nothing(client: Client, settings: Settings, given: str) -> None:
    settings.WEBHOOK_SECRET = "secret-number-one"
    headers = {"X-Max-Bot-Api-Secret": given} if given else {}
    answer = post(client, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    assert not InboxUpdate.objects.exists()


@pytest.mark.parametrize("given", ["secret-number-one", "secret-number-two"])
def test_both_secrets_hold_during_a_rotation(client: Client, settings: Settings, given: str) -> None:
    settings.WEBHOOK_SECRET = "secret-number-one, ,secret-number-two"
    assert post(client, **{"X-Max-Bot-Api-Secret": given}).status_code == 200


def test_it_refuses_a_body_over_the_limit(client: Client) -> None:
    padding = LARGEST_BODY - len('{"a":""}')
    assert post(client, '{"a":"%s"}' % ("x" * padding)).status_code == 200
    answer = post(client, '{"a":"%s"}' % ("x" * (padding + 1)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_it_refuses_an_encoded_body(client: Client) -> None:
    assert post(client, **{"Content-Encoding": "gzip"}).status_code == 415
    assert post(client, **{"Content-Encoding": "identity"}).status_code == 200


def test_it_refuses_a_form_and_takes_json_under_any_type(client: Client) -> None:
    form = "application/x-www-form-urlencoded"
    assert post(client, "a=b", form).status_code == 415
    assert post(client, UPDATE, form).status_code == 200
    assert post(client, b"x", "text/plain").status_code == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"not json", "the body is not JSON"),
        (b'{"a": NaN}', "the body is not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "the body is not JSON"),
        (b"\xff\xfe{", "the body is not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "the body is not UTF-8"),
        (b"[" * 100_000, "the body is nested too deeply"),
        (b"[]", "the body is not an object"),
        (b"1", "the body is not an object"),
        (b'{"updates": 1}', "“updates” is not a list of objects"),
        (b'{"updates": [1]}', "“updates” is not a list of objects"),
        (json.dumps({"updates": [UPDATE] * 101}).encode(), "the envelope holds more than 100 updates"),
    ],
    ids=range(13),
)
def test_it_keeps_what_is_no_update(client: Client, body: bytes, reason: str) -> None:
    assert post(client, body).status_code == 200
    update = InboxUpdate.objects.get()
    assert (update.state, update.reason, bytes(update.body or b"")) == (State.QUARANTINED, reason, body)


def test_an_envelope_becomes_a_row_an_update(client: Client) -> None:
    updates = [UPDATE | {"chat_id": number} for number in range(100)]
    assert post(client, {"updates": updates, "marker": 1}).status_code == 200
    assert states() == [State.PENDING] * 100


def test_a_repeat_is_counted_and_not_stored_again(client: Client) -> None:
    for _ in range(3):
        assert post(client).status_code == 200
    assert len(states()) == 1
    assert Repeat.objects.count() == 2


def test_a_repeat_within_one_envelope_is_counted(client: Client) -> None:
    assert post(client, {"updates": [UPDATE, UPDATE]}).status_code == 200
    assert (len(states()), Repeat.objects.count()) == (1, 1)


def test_what_cannot_be_stored_is_never_200(client: Client) -> None:
    def refuse(*args: Any) -> None:
        raise OperationalError("the server is gone")

    with connection.execute_wrapper(refuse):
        answer = post(client)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.json()["error"]["code"] == "UNAVAILABLE"
