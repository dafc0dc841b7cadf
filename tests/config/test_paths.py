import pytest
from django.test import Client

PATHS = ["/health", "/health/", "/api/v1/health", "/api/v1/health/", "/swagger", "/api/v1/openapi.json/"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", PATHS)
def test_each_spelling_is_served(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/nope", "/nope/", "/api/v1/nope", "/api/v1", "/api/v2/health", "/api/v1/api/v1/x"])
def test_it_answers_not_found_elsewhere(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_it_refuses_to_write_what_is_read_only(client: Client, path: str) -> None:
    answer = client.post(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")


def test_a_post_to_nothing_is_404() -> None:
    answer = Client(enforce_csrf_checks=True).post("/nope", {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


@pytest.mark.django_db
@pytest.mark.parametrize("charset", ["hex", "rot13", "zlib", "utf-16", "nonsense"])
def test_json_is_utf8_whatever_the_type_claims(client: Client, charset: str) -> None:
    answer = client.generic(
        "POST", "/api/token", b'{"username": "\xd0\xaf"}', content_type=f"application/json; charset={charset}"
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_ERROR")
    assert "password" in answer.json()["error"]["message"]
