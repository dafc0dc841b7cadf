"""Every response has an X-Request-ID, whichever layer it comes from."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from config.lib import request_id
from config.rsgi import bridge
from config.web import WebServer
from tests import loops
from tests.webhooks.sending import Protocol, RequestScope

# The receiver and Django's threads have connections of their own.
pytestmark = pytest.mark.django_db(transaction=True)
NEW = re.compile(r"[0-9a-f]{32}")


def ids_of(
    server: WebServer, path: str = "/health", method: str = "GET", given: str = "", body: bytes = b"", **more: str
) -> list[str]:
    protocol = Protocol([body] if body else [])
    headers = {"host": "testserver", **({"x-request-id": given} if given else {}), **more}
    loops.run(server.__rsgi__(RequestScope(method, path, headers), protocol))  # type: ignore[arg-type]
    (reply,) = protocol.replies
    return [value for name, value in reply.headers.items() if name.lower() == "x-request-id"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "TRACE"])
def test_it_works(server: WebServer, method: str) -> None:
    for path in (
        "/health", "/nothing", "/employees", "/api/v1/employees/1/", "/static/nothing.js", "/admin/", "/admin/login/",
        "/admin/nothing/", "/webhook/max", "/openapi.json", "/swagger", "/metrics", "/ready", "/api/token",
    ):  # fmt: skip
        (new,) = ids_of(server, path, method)
        assert NEW.fullmatch(new)
        assert ids_of(server, path, method, given="proxy-1") == ["proxy-1"]


def test_it_is_in_refusals_before_django(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LARGEST_BODY", 4)
    for length, body in (("5", b"12345"), ("3", b"1")):
        more: dict[str, Any] = {"body": body, "content-length": length}
        (new,) = ids_of(server, "/employees", "POST", **more)
        assert NEW.fullmatch(new)
        assert ids_of(server, "/employees", "POST", given="proxy-2", **more) == ["proxy-2"]


@settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.text(st.characters(max_codepoint=255), max_size=80) | st.from_regex(r"[A-Za-z0-9_.-]{1,70}\n?"))
def test_only_a_valid_id_is_returned(given: str) -> None:
    returned = request_id.begin(given)
    is_valid = re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", given) and len(re.findall("[0-9]", given)) < 10
    if is_valid:
        assert returned == given
    elif not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", given) or re.fullmatch(r"[0-9]{10,15}", given):
        assert NEW.fullmatch(returned)
    else:
        assert returned == given or NEW.fullmatch(returned)


@pytest.mark.parametrize(
    "given",
    [
        *("8-916-111-22-33", "8.916.111.22.33", "tel_7_916_1112233", "89161112233", "7-916-1112233"),
        *("1.79161234567", "12.89161234567", "req.5.79161234567", "7916.1234567", "7____916____1234567"),
        *("7._-916-...1234567", "8.-.916.-.1234567"),
        *("deadbeef79161234567", "aaaaa79161234567", "79161234567abcde", "DEAD89161234567BEEF", "0a79161234567b0c4d"),
    ],
)
def test_a_phone_is_not_returned(given: str) -> None:
    assert NEW.fullmatch(request_id.begin(given))


@settings(deadline=None, derandomize=True)
@given(
    st.from_regex(r"[A-Za-z_.-]{0,8}", fullmatch=True),
    st.from_regex(r"[789][0-9]{9,14}", fullmatch=True),
    st.from_regex(r"([A-Za-z_.-][A-Za-z0-9_.-]{0,3})?", fullmatch=True),
)
@example("id", "79161234567", "")
@example("0x", "79161234567", "")
@example("deadbeef", "79161234567", "")
@example("", "79161234567", "a")
@example("user", "7916", "-123-45-67")
def test_a_phone_among_letters_is_not_returned(before: str, phone: str, after: str) -> None:
    given_id = f"{before}{phone}{after}"
    is_mobile = re.fullmatch("[78]9[0-9]{9}", phone) and not after[:1].isdigit()
    # 32 hexadecimal digits are longer.
    assume(is_mobile or not re.search(r"(?<![A-Za-z0-9])[0-9a-fA-F]{16,}(?![A-Za-z0-9])", given_id))
    assert request_id.begin(given_id) != given_id


@settings(deadline=None, derandomize=True)
@given(st.uuids().map(str) | st.uuids().map(lambda given: given.hex) | st.from_regex("[0-9a-f]{24}", fullmatch=True))
@example("00000000-0000-4000-8000-79161234567a")
def test_a_hexadecimal_id_is_returned(given: str) -> None:
    for each in (given, given.upper(), f"req_{given}"):
        assert request_id.begin(each) == each


@pytest.mark.parametrize(
    "given",
    [
        "12345678-1234-1234-1234-123456789012",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "12345678901234567890123456789012",
        "20261129-062928.123456",
        "2026-11-29T06-29-28",
        "10.0.123.145",
        "req-1.25",
        "79161234567abcdef0123456789abcde",
    ],
)
def test_an_id_of_digits_that_is_no_phone_is_returned(given: str) -> None:
    assert request_id.begin(given) == given
