"""Every response has an X-Request-ID, whichever layer it comes from."""

import io
import re
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import wsgi
from tests.config.test_web import web  # noqa: F401 (a fixture)

# The receiver commits on a connection of its own.
pytestmark = pytest.mark.django_db(transaction=True)
NEW = re.compile(r"[0-9a-f]{32}")


@pytest.fixture(autouse=True)
def _same_connection() -> Iterator[None]:
    """Keep the connection of the test's transaction, which the end of a WSGI request would close."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def ids_of(application: Any, path: str = "/health", method: str = "GET", given: str = "", **more: Any) -> list[str]:
    found: list[list[tuple[str, str]]] = []
    environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": method, "HTTP_HOST": "testserver", **more}
    environ |= {"HTTP_X_REQUEST_ID": given} if given else {}
    setup_testing_defaults(environ)
    list(application(environ, lambda status, headers, exc_info=None: found.append(headers)))
    (headers,) = found
    return [value for name, value in headers if name == "X-Request-ID"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "TRACE"])
@pytest.mark.parametrize(
    "path",
    ["/health", "/nothing", "/employees", "/api/v1/employees/1/", "/static/nothing.js", "/admin/", "/admin/login/",
     "/admin/nothing/", "/webhook/max", "/openapi.json", "/swagger", "/metrics", "/api/token"],
)  # fmt: skip
def test_it_works(path: str, method: str) -> None:
    (new,) = ids_of(wsgi.application, path, method)
    assert NEW.fullmatch(new)
    assert ids_of(wsgi.application, path, method, given="proxy-1") == ["proxy-1"]


def test_it_is_in_refusals_before_django(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811 (the fixture)
    monkeypatch.setattr(web, "LARGEST_BODY", 4)
    for length, body in (("5", b"12345"), ("3", b"1")):
        more: dict[str, Any] = {"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(body)}
        (new,) = ids_of(web.application, "/employees", "POST", **more)
        assert NEW.fullmatch(new)
        more["wsgi.input"] = io.BytesIO(body)
        assert ids_of(web.application, "/employees", "POST", given="proxy-2", **more) == ["proxy-2"]


@settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.text(st.characters(max_codepoint=255), max_size=80) | st.from_regex(r"[A-Za-z0-9_.-]{1,70}\n?"))
def test_only_a_valid_id_is_returned(given: str) -> None:
    (returned,) = ids_of(wsgi.application, given=given)
    is_valid = re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", given) and not re.fullmatch(r"[0-9]{10,15}", given)
    assert returned == given if is_valid else NEW.fullmatch(returned)
