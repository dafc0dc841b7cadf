import pytest
from django.test import Client

PATHS = ["/health", "/health/", "/api/v1/health", "/api/v1/health/", "/swagger", "/api/v1/openapi.json/"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", PATHS)
def test_each_spelling_is_served(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/nope", "/nope/", "/api/v1/nope", "/api/v1", "/api/v2/health", "/api/v1/api/v1/x"])
def test_elsewhere_there_is_nothing(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
