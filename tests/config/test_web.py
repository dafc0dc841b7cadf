"""What stands before Django in a web process: takes a body in, whole."""

import importlib
import io
import json
from typing import Any

import pytest

from profiles.rollout.heartbeat import heartbeat_thread

PASSED_ON: list[bytes] = []


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, without the heart that beats from its import on and without Django behind it."""
    monkeypatch.setattr(heartbeat_thread, "start", lambda kind: None)
    module = importlib.import_module("config.web")

    def django(environ: Any, start_response: Any) -> list[bytes]:
        PASSED_ON.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return []

    monkeypatch.setattr(module.wsgi, "application", django)
    PASSED_ON.clear()
    return module


def post(web: Any, body: bytes, path: str = "/employees", **announced: str) -> tuple[str, bytes]:
    statuses: list[str] = []
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "wsgi.input": io.BytesIO(body), **announced}
    answer = b"".join(web.application(environ, lambda status, headers: statuses.append(status)))
    return statuses[0], answer


def test_it_works(web: Any) -> None:
    assert post(web, b"whole", CONTENT_LENGTH="5")[0] == "200 OK"
    assert post(web, b"chunked", HTTP_TRANSFER_ENCODING="chunked")[0] == "200 OK"
    assert post(web, b"", CONTENT_LENGTH="0")[0] == "200 OK"
    assert PASSED_ON == [b"whole", b"chunked", b""]


def test_it_refuses_a_body_that_was_cut_off(web: Any) -> None:
    status, answer = post(web, b"percent=5", CONTENT_LENGTH="10")
    assert (status, json.loads(answer)["error"]["code"]) == ("400 Bad Request", "VALIDATION_ERROR")
    assert not PASSED_ON


def test_it_refuses_a_body_over_the_limit(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LARGEST_BODY", 4)
    assert post(web, b"12345", CONTENT_LENGTH="5")[0].startswith("413")
    assert post(web, b"12345", HTTP_TRANSFER_ENCODING="chunked")[0].startswith("413")
    assert not PASSED_ON


def test_people_read_in_their_language_that_a_file_is_too_large(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LARGEST_BODY", 4)
    path = "/admin/employees/employee/import/"
    english = post(web, b"12345", path, CONTENT_LENGTH="5", HTTP_ACCEPT_LANGUAGE="en")
    russian = post(web, b"12345", path, CONTENT_LENGTH="5", HTTP_COOKIE="django_language=ru")
    assert english[0] == russian[0] == "413 Content Too Large"
    assert b"A file may have up to 16 MB" in english[1]
    assert b'<html lang="ru">' in russian[1]
