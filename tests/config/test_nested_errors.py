"""The message of a refusal: the first error in words, however deep the field is."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ValidationError
from rest_framework.test import APIClient, APIRequestFactory

from config.lib.http import errors
from config.lib.http.throttling import LogInRate, TokenBuckets

TEXTS = st.sampled_from(["This field is required.", "Enter a number."])
DETAILS: st.SearchStrategy[Any] = st.recursive(
    TEXTS.map(lambda text: [text]),
    lambda inner: (
        st.dictionaries(st.sampled_from(["steps", "at", 0, 1]), inner, min_size=1) | st.lists(inner, min_size=1)
    ),
)


def message(details: Any) -> str:
    response = errors.handle(ValidationError(details), {"request": APIRequestFactory().post("/employees")})
    assert response is not None
    return str(response.data["error"]["message"])


@pytest.mark.django_db
@given(DETAILS)
def test_it_ends_with_a_sentence(details: Any) -> None:
    text = message(details)
    assert text.rpartition(": ")[2] in ("This field is required.", "Enter a number.")
    assert not set("[]{}'") & set(text)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("details", "text"),
    [
        ({"steps": {0: {"at": ["No."]}}}, "steps.0.at: No."),
        ({"steps": [{}, {"at": ["No."]}]}, "steps.1.at: No."),
        ([{}, {"phone": ["No.", "Never."]}], "1.phone: No."),
        ({"phone": ["No."], "name": ["Never."]}, "phone: No."),
        (["No."], "No."),
    ],
)
def test_it_names_the_field(details: Any, text: str) -> None:
    assert message(details) == text


BODIES: dict[str, dict[str, Any]] = {
    "/employees": {"phone": "89161234567", "role": "", "university_id": 1, "max_id": "5", "inn": "", "first_name": ""},
    "/universities": {"name": "Вуз", "inn": "", "kpp": ""},
    "/profiles/5/name": {"name": "Имя"},
    "/api/token": {"username": "u", "password": "p"},
    "/monitoring/rollout/plan": {
        "reason": "r",
        "phase": 3,
        "when_gates_pass": False,
        "hours": "",
        "steps": [{"percent": 1, "at": "2099-01-01T00:00:00Z"}],
    },
    "/monitoring/rollout/set": {"phase": 3, "percent": 1, "reason": "r", "dry_run": True, "expect_revision": ""},
    "/monitoring/rollout/cancel": {"plan": 1, "reason": "r"},
}
WRONG: list[Any] = [["x"], [1], {}, {"a": 1}, True, 1.5, "x", None, [[1]], [{"percent": ["x"]}], [None]]
_TIMES: list[Any] = ["x", "2099-01-01", "0001-01-01T00:00:00+14:00", None, 5]
WRONG += [[{"percent": 1, "at": moment}] for moment in _TIMES]
INTERNALS = re.compile(
    r"\b(dict|dictionary|list of items|str|int|float|bool|NoneType|datetime|pk|non_field_errors)\b|[\[{]['0-9\[]"
)


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("path", BODIES)
def test_no_message_shows_internals(api: APIClient, monkeypatch: pytest.MonkeyPatch, path: str, language: str) -> None:
    """Whatever the type of the body or of one of its fields is."""
    monkeypatch.setattr(LogInRate, "buckets", TokenBuckets())
    whole = BODIES[path]
    bodies = [*WRONG, *({**whole, name: value} for name in whole for value in WRONG)]
    refused = 0
    for sent in bodies:
        # Without a content, the client would send no body at all.
        how = {"format": "json"} if sent is not None else {"data": "null", "content_type": "application/json"}
        answer = api.post(path, **{"data": sent} | how, headers={"accept-language": language})
        error = answer.json().get("error", {})
        refused += answer.status_code == 400
        details = (
            json.dumps(list(error.get("details", {}).values()), ensure_ascii=False).replace("[[", "").replace("[{", "")
        )
        for text in (str(error.get("message", "")), *re.findall('"([^"]*[.])"', details)):
            assert not INTERNALS.search(text), (sent, text)
            assert language != "ru" or not text or re.search("[а-яё]", text), (sent, text)
    assert refused > len(WRONG)


@pytest.mark.django_db
@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize(
    ("path", "sent", "text"),
    [
        ("/employees", {"role": ["x"]}, "role: Not one of the allowed values."),
        ("/employees", {"university_id": {}}, "university_id: Enter the ID as a whole number."),
        ("/employees", {"university_id": 987654321}, "university_id: No object has this ID."),
        ("/employees", [1], "Must be a JSON object."),
        ("/monitoring/rollout/plan", {"dry_run": "off"}, "dry_run: Must be true or false."),
        (
            "/monitoring/rollout/plan",
            {"steps": [{"percent": 1, "at": "x"}]},
            "steps.0.at: Enter a date and time such as 2027-01-31T09:00:00+03:00.",
        ),
        ("/monitoring/rollout/plan", {"steps": "x"}, "steps: Must be a list."),
        ("/monitoring/rollout/plan", {"steps": ["x"]}, "steps.0: Must be a JSON object."),
    ],
)
def test_wrong_types_are_refused_in_words(api: APIClient, path: str, sent: Any, text: str) -> None:
    body = {**BODIES[path], **sent} if isinstance(sent, dict) else sent
    answer = api.post(path, body, format="json", headers={"accept-language": "en"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, text)
