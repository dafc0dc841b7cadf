"""No header of a request, however malformed or long, makes the server fail."""

import json
from collections.abc import Iterable
from encodings.aliases import aliases
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.test.client import ClientHandler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from config.rsgi.bridge import Bridge
from config.rsgi.wsgi_environ import unreadable_part, wsgi_environ
from tests import loops
from tests.webhooks import sending
from tests.webhooks.sending import Protocol, Reply, RequestScope

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
ROUTES = (
    ("GET", "/employees"),
    ("GET", "/employees?limit=5"),
    ("GET", "/employees?search=x&y=%D0%AF"),
    ("POST", "/employees"),
    ("POST", "/api/token"),
    ("GET", "/openapi.json"),
    ("GET", "/swagger"),
    ("GET", "/monitoring/rollout"),
    ("GET", "/metrics"),
    ("POST", "/health"),
    ("GET", "/admin/login/"),
    ("POST", "/admin/login/"),
    ("POST", "/admin/language/"),
    ("GET", "/static/admin/css/base.css"),
    ("GET", "/static/no.css"),
    ("GET", "/nothing"),
)
NAMES = (
    *("accept", "accept-encoding", "accept-language", "authorization", "content-disposition", "content-encoding"),
    *("content-type", "cookie", "expect", "host", "idempotency-key", "if-match", "if-modified-since", "if-none-match"),
    *("if-range", "if-unmodified-since", "origin", "range", "referer", "user-agent", "x-csrftoken", "x-forwarded-for"),
    *("x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-http-method-override", "x-max-bot-api-secret"),
    *("x-request-id", "x-requested-with", "traceparent", "tracestate", "baggage"),
)
PARTS = (
    *(
        "a/b",
        "*/*",
        "*",
        "application/json",
        "multipart/form-data",
        "application/x-www-form-urlencoded",
        "; ",
        ";",
        ",",
    ),
    *("=", "*=", "*0*=", "*1=", "''", "x", "q", "bogus", "idna", "undefined", "utf-8", "utf-7", "hex", "charset"),
    *("boundary", "filename", "%00", "%ff", '"', "\\", "bytes", "-", "0", "9" * 5000, "1e9", "nan", ":", "[", "]", "@"),
    *(
        "Bearer ",
        "Basic ",
        "Api-Key ",
        "W/",
        "gzip",
        "Mon, 30 Nov 2026 00:00:00 GMT",
        "Mon, 99 Nov 999999 99:99:99 GMT",
    ),
    *("http://", "127.0.0.1", "::1", "sessionid", "django_language", "csrftoken", "ru", "xn--", "00-", "chunked"),
)
# All that Python knows, also those that are no text encodings.
CHARSETS = sorted(set(aliases.values()) | {"undefined", "punycode", "idna", "unicode_escape", "raw_unicode_escape"})
_PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
VALUES = st.builds(
    lambda parts, times: "".join(parts)[:200] * times if times > 1 else "".join(parts),
    st.lists(st.sampled_from(PARTS) | _PRINTABLE, max_size=12),
    st.sampled_from([1, 1, 1, 300]),
)
HEADERS = st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=3)


def respond(method: str, path: str, headers: dict[str, str]) -> Reply:
    """Return the web server's response, with Django in this thread, whose transaction the test rolls back."""
    environs = list[Any]()

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        environs.append(environ)
        start_response("200 OK", [])
        return [b""]

    protocol = Protocol([])
    path, _, query = path.partition("?")
    scope: Any = RequestScope(method, path, {"host": "testserver"} | headers, query)
    loops.run(Bridge(application).respond(scope, protocol))  # type: ignore[arg-type]
    if not environs:
        return protocol.replies[0]
    # Unlike the server's own handler, it keeps the connection of the test.
    response: Any = ClientHandler(enforce_csrf_checks=False)(environs[0])
    return Reply(response.status_code, dict(response.headers), b"".join(response))


KNOWN: list[dict[str, str]] = [
    {"content-type": "a/b; x*=undefined''y"},
    {"content-type": f"a/b; x*{'9' * 900}=y"},
    *({"content-type": f"application/json; charset={name}"} for name in CHARSETS),
    {"accept": "a;b*=bogus''x"},
    {"accept": "*/*; a=\"b; c*=bogus''x\""},
    {"accept": ";" * 60_000},
    {"accept-language": "ru;q=" + "9" * 60_000},
    {"cookie": '"; =' * 9_000},
    {"if-modified-since": "Mon, 99 Nov 999999 99:99:99 GMT", "if-none-match": 'W/"'},
    {"range": f"bytes={'9' * 5000}-"},
    {"host": "[", "x-forwarded-host": "]", "x-forwarded-port": "x", "x-forwarded-for": "[::1", "origin": "http://["},
    {"authorization": "Bearer " + "." * 5000},
    {"authorization": "Api-Key " + "." * 5000},
]


@pytest.mark.long
@pytest.mark.parametrize("route", ROUTES)
def test_no_known_bad_header_makes_a_route_fail(route: tuple[str, str]) -> None:
    replies = [(respond(*route, headers), headers) for headers in KNOWN]
    assert not [(reply.status, reply.body, headers) for reply, headers in replies if reply.status >= 500]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(ROUTES), HEADERS)
def test_no_header_makes_a_route_fail(route: tuple[str, str], headers: dict[str, str]) -> None:
    assert respond(*route, headers).status < 500


# The receiver commits in a connection of its own.
@pytest.mark.django_db(transaction=True)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(HEADERS, st.booleans())
def test_no_header_makes_the_webhook_fail(settings: Settings, headers: dict[str, str], has_secret: bool) -> None:
    settings.WEBHOOK_SECRETS = [b"right-secret-0123456789"]
    secret = {"x-max-bot-api-secret": "right-secret-0123456789"} if has_secret else {}
    named: dict[str, Any] = {name.replace("-", "_"): value for name, value in (headers | secret).items()}
    reply = sending.send({"update_type": "bot_started"}, **named)
    assert reply.status in ((200, 415) if has_secret else (401,))


@pytest.mark.parametrize("value", ["a/b; x*=bogus''y", "a/b; charset*=utf-8''a%00b", "a/b;" * 300])
@pytest.mark.parametrize("route", ROUTES)
def test_a_content_type_that_cannot_be_read_is_400(route: tuple[str, str], value: str) -> None:
    reply = respond(*route, {"content-type": value, "x-request-id": "given"})
    assert (reply.status, reply.code, reply.headers["x-request-id"]) == (400, "VALIDATION_ERROR", "given")


@pytest.mark.parametrize("charset", ["Punycode", "idna", "IDNA", "undefined"])
@pytest.mark.parametrize("query", ["9" * 60_000, "search=x&y=%D0%AF"])
def test_a_charset_that_is_slow_to_decode_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, charset: str, query: str
) -> None:
    decoded = list[Any]()
    monkeypatch.setattr("config.rsgi.wsgi_environ.QueryDict", lambda *given, **_: decoded.append(given))
    reply = respond("GET", f"/employees?{query}", {"content-type": f"a/b; charset={charset}"})
    message = json.loads(reply.body)["error"]["message"]
    assert (reply.status, message, decoded) == (400, "The Content-Type is malformed or too long.", [])


@pytest.mark.parametrize("charset", CHARSETS)
def test_no_charset_takes_two_fields_for_too_many(charset: str) -> None:
    reply = respond("GET", "/employees?search=x&y=%D0%AF", {"content-type": f"a/b; charset={charset}"})
    assert b"too many fields" not in reply.body


def test_too_many_fields_of_a_query_are_named() -> None:
    reply = respond("GET", f"/employees?{'a&' * 1001}", {"content-type": "a/b; charset=utf-8"})
    assert (reply.status, json.loads(reply.body)["error"]["message"]) == (400, "The query has too many fields.")


@pytest.mark.parametrize(
    "value", ["application/json", 'application/json; Charset="utf-8"', "a/b; x*=utf-8''y", ";", ""]
)
def test_other_content_types_reach_django(value: str) -> None:
    assert respond("POST", "/employees", {"content-type": value}).status == 401


@pytest.mark.parametrize("headers", [{}, {"content-type": 'application/json; charset="utf-8"'}])
def test_the_event_loop_builds_no_request(monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]) -> None:
    """The loop serves all connections, so it leaves that to Django's threads."""
    built = list[Any]()
    monkeypatch.setattr(WSGIRequest, "__init__", lambda _, environ: built.append(environ))
    assert not unreadable_part(wsgi_environ(RequestScope("GET", "/", headers)))  # type: ignore[arg-type]
    assert not built


def accept(value: str) -> str | None:
    scope: Any = RequestScope("GET", "/", {"accept": value})
    return wsgi_environ(scope).get("HTTP_ACCEPT")


@pytest.mark.parametrize(
    "value",
    [
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
        "application/json; indent=2 , text/*;q=0.5;",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "",
        ", ,text/html",
    ],
)
def test_an_accept_reaches_django(value: str) -> None:
    assert accept(value) == value


@pytest.mark.parametrize("value", ["a;b*=bogus''x", "a/b;b*=bogus''x", "a/b;b* =x", '*/*;a="b"', "*", "a/b;" * 300])
def test_an_accept_that_is_long_or_malformed_counts_as_absent(value: str) -> None:
    assert accept(value) is None
    assert respond("POST", "/admin/language/", {"accept": value}).status in (204, 302)
