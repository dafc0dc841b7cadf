"""The event loop takes a body in whole, with limits and deadlines, and passes it to a free thread of Django."""

import asyncio
import errno
import json
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse

from config import web
from config.postgres import locks
from config.postgres.base import DatabaseWrapper
from config.rsgi import bridge
from config.rsgi.wsgi_environ import wsgi_environ
from tests import loops
from tests.waiting import PATIENCE
from tests.webhooks.sending import Protocol, Reply, RequestScope

PASSED_ON: list[Any] = []


def test_its_commits_do_not_wait_for_ever(server: web.WebServer) -> None:
    """Those that wait for a lost standby would take all threads."""
    assert DatabaseWrapper.commit_seconds == locks.COMMIT_SECONDS


def django(environ: Any, start_response: Any) -> Iterable[bytes]:
    PASSED_ON.append(environ | {"body": environ["wsgi.input"].read()})
    start_response("200 OK", [("X-Own", "1")])
    return [b"from ", b"Django"]


@pytest.fixture(autouse=True)
def _nothing_passed_on() -> Iterator[None]:
    PASSED_ON.clear()
    yield
    assert bridge.intake.held == 0


def request(
    protocol: Protocol, method: str = "POST", path: str = "/employees", application: Any = django, **headers: str
) -> Reply:
    async def respond() -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await bridge.Bridge(application).respond(RequestScope(method, path, named), protocol)  # type: ignore[arg-type]

    loops.run(respond())
    (reply,) = protocol.replies
    return reply


def bodies() -> list[bytes]:
    return [environ["body"] for environ in PASSED_ON]


def test_it_works() -> None:
    reply = request(Protocol([b"wh", b"ole"]), content_length="5")
    assert (reply.status, reply.body, reply.headers["X-Own"]) == (200, b"from Django", "1")
    assert request(Protocol([b"chunked"]), transfer_encoding="chunked").status == 200
    assert request(Protocol([]), content_length="0").status == 200
    assert request(Protocol([]), "GET").status == 200
    assert bodies() == [b"whole", b"chunked", b"", b""]


@pytest.mark.parametrize(
    ("protocol", "headers"),
    [
        (Protocol([b"percent=5"], is_cut_off=True), {"content_length": "10"}),
        (Protocol([b"percent=5"], is_cut_off=True), {"transfer_encoding": "chunked"}),
    ],
    ids=["with a length", "chunked"],
)
def test_it_refuses_a_body_that_was_cut_off(protocol: Protocol, headers: dict[str, str]) -> None:
    reply = request(protocol, **headers)
    assert (reply.status, reply.code, reply.headers["connection"]) == (400, "VALIDATION_ERROR", "close")
    assert not PASSED_ON


def test_it_refuses_a_body_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LARGEST_BODY", 4)
    assert request(Protocol([b"12345"]), content_length="5").status == 413
    assert request(Protocol([b"12345"]), transfer_encoding="chunked").status == 413
    assert not PASSED_ON


def test_only_imports_may_be_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LARGEST_BODY", 4)
    assert request(Protocol([b"12345"]), path="/admin/employees/employee/1/change/", content_length="5").status == 413
    assert request(Protocol([b"12345"]), path="/admin/employees/employee/import/", content_length="5").status == 200


def test_people_read_in_their_language_that_a_file_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LARGEST_IMPORT", 4)
    path = "/admin/employees/employee/import/"
    english = request(Protocol([b"12345"]), path=path, content_length="5", accept_language="en")
    russian = request(Protocol([b"12345"]), path=path, content_length="5", cookie="django_language=ru")
    assert english.status == russian.status == 413
    assert b"The file must not be larger than 16 MB" in english.body
    assert b'<html lang="ru">' in russian.body


def test_a_slow_body_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Protocol):
        async def __aiter__(self) -> Any:
            while True:
                await asyncio.sleep(0.02)
                yield b"x"

    monkeypatch.setattr("config.rsgi.intake.BODY_SECONDS", 0.2)
    started = time.monotonic()
    reply = request(Slow([]), content_length="100000")
    assert (reply.status, reply.code, reply.headers["connection"]) == (408, "REQUEST_TIMEOUT", "close")
    assert time.monotonic() - started > 0.15


def test_a_body_that_pauses_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pausing(Protocol):
        async def __aiter__(self) -> Any:
            yield b"x"
            await asyncio.sleep(60)

    monkeypatch.setattr("config.rsgi.intake.PAUSE_SECONDS", 0.1)
    assert request(Pausing([]), content_length="100000").status == 408


@pytest.mark.parametrize("length", [{"content_length": "100000"}, {"transfer_encoding": "chunked"}])
def test_a_body_in_tiny_parts_ends_before_it_costs_much(length: dict[str, str]) -> None:
    protocol = Protocol([b"x"] * 100_000)
    reply = request(protocol, **length)
    assert (reply.status, reply.headers["connection"]) == (400, "close")
    assert protocol.consumed < 2000
    # The parts of a network packet each are no problem.
    assert request(Protocol([b"x" * 500] * 2000), content_length="1000000").status == 200


def test_all_bodies_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.intake, "largest_total", 6)
    reply = request(Protocol([b"1234", b"567"]), content_length="7")
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert not PASSED_ON


def test_a_header_with_underscores_is_no_header() -> None:
    """WSGI has one name for X-Forwarded-For and X_Forwarded_For, and a proxy removes or sets only the first."""
    scope: Any = RequestScope(
        "GET", "/", {"x_forwarded_for": "6.6.6.6", "x-forwarded-for": "10.0.0.1", "x_real_ip": "6.6.6.6"}
    )
    environ = wsgi_environ(scope)
    assert environ["HTTP_X_FORWARDED_FOR"] == "10.0.0.1"
    assert not [name for name, value in environ.items() if value == "6.6.6.6"]


def test_the_address_is_the_peer() -> None:
    for client, address in (("10.0.0.1:40000", "10.0.0.1"), ("[::1]:40000", "::1"), ("::1:40000", "::1")):
        scope: Any = RequestScope("GET", "/", {}, client=client)
        assert wsgi_environ(scope)["REMOTE_ADDR"] == address


def test_text_that_is_not_ascii_reaches_django_as_it_is() -> None:
    scope: Any = RequestScope("GET", "/профили", {}, query_string="имя=Анна")
    request = WSGIRequest(wsgi_environ(scope))
    assert (request.path, request.GET["имя"]) == ("/профили", "Анна")


class Staying(Protocol):
    async def client_disconnect(self) -> None:
        await asyncio.Event().wait()


class Leaving(Protocol):
    async def client_disconnect(self) -> None:
        return

    def response_empty(self, status: int, headers: Any) -> None:
        self.replies.append(Reply(status, {}, b""))


def test_while_all_threads_are_busy_others_wait_and_too_many_are_503(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def blocked(environ: Any, start_response: Any) -> Iterable[bytes]:
        release.wait(PATIENCE)
        return django(environ, start_response)

    async def all_at_once() -> list[int]:
        pool = bridge.ThreadPool("test", 2, PATIENCE)
        server = bridge.Bridge(blocked)
        server._pools = bridge.ThreadPools(pool, pool, pool)
        protocols = [Staying([]) for _ in range(20)]
        tasks = [
            asyncio.ensure_future(server.respond(RequestScope("GET", "/employees", {}), protocol))  # type: ignore[arg-type]
            for protocol in protocols
        ]
        await loops.until(lambda: sum(len(protocol.replies) for protocol in protocols) >= 10)
        release.set()
        await asyncio.gather(*tasks)
        return sorted(protocol.replies[0].status for protocol in protocols)

    # Two run, eight wait (four for each thread), the others are refused at once.
    assert loops.run(all_at_once()) == [200] * 10 + [503] * 10


def test_a_request_whose_client_has_left_is_not_started() -> None:
    release = threading.Event()

    def blocked(environ: Any, start_response: Any) -> Iterable[bytes]:
        release.wait(PATIENCE)
        return django(environ, start_response)

    async def one_leaves() -> list[Any]:
        pool = bridge.ThreadPool("test", 1, PATIENCE)
        server = bridge.Bridge(blocked)
        server._pools = bridge.ThreadPools(pool, pool, pool)
        protocols = [Leaving([]), Leaving([])]
        tasks = [
            asyncio.ensure_future(server.respond(RequestScope("GET", "/employees", {}), protocol))  # type: ignore[arg-type]
            for protocol in protocols
        ]
        await loops.until(lambda: protocols[1].replies)
        release.set()
        await asyncio.gather(*tasks)
        return [protocol.replies[0].status for protocol in protocols]

    assert loops.run(one_leaves()) == [200, 499]
    assert len(PASSED_ON) == 1


def test_a_client_that_has_left_frees_its_place_in_the_queue_at_once() -> None:
    release = threading.Event()

    def blocked(environ: Any, start_response: Any) -> Iterable[bytes]:
        release.wait(PATIENCE)
        return django(environ, start_response)

    class LeavingLater(Leaving):
        async def client_disconnect(self) -> None:
            await asyncio.sleep(0.05)

    async def leave() -> list[int]:
        pool = bridge.ThreadPool("test", 1, PATIENCE)
        server = bridge.Bridge(blocked)
        server._pools = bridge.ThreadPools(pool, pool, pool)
        protocols = [*(LeavingLater([]) for _ in range(5)), *(Staying([]) for _ in range(4))]
        get: Any = RequestScope("GET", "/employees", {})
        tasks = [asyncio.ensure_future(server.respond(get, protocol)) for protocol in protocols[:5]]  # type: ignore[arg-type]
        await loops.until(lambda: all(protocol.replies for protocol in protocols[1:5]))
        assert [protocol.replies[0].status for protocol in protocols[1:5]] == [499] * 4
        tasks += [asyncio.ensure_future(server.respond(get, protocol)) for protocol in protocols[5:]]  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        release.set()
        await asyncio.gather(*tasks)
        return [protocol.replies[0].status for protocol in protocols]

    assert loops.run(leave()) == [200, *[499] * 4, *[200] * 4]


def test_four_requests_begin_at_once_and_one_that_waits_lets_others_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    release, begun = threading.Event(), []

    def blocked(environ: Any, start_response: Any) -> Iterable[bytes]:
        begun.append(environ["PATH_INFO"])
        release.wait(PATIENCE)
        return django(environ, start_response)

    async def send() -> list[int]:
        pool = bridge.ThreadPool("test", 8, PATIENCE)
        server = bridge.Bridge(blocked)
        server._pools = bridge.ThreadPools(pool, pool, pool)
        protocols: list[Any] = [*(Staying([]) for _ in range(4)), Leaving([]), Staying([])]
        get: Any = RequestScope("GET", "/employees", {})
        tasks = [asyncio.ensure_future(server.respond(get, protocol)) for protocol in protocols]
        await loops.until(lambda: protocols[4].replies)
        assert len(begun) == 4, "the others wait, and one that has left is answered although threads are free"
        monkeypatch.setattr(bridge, "_BEGINNING_SECONDS", 0.01)
        late = Staying([])
        tasks.append(asyncio.ensure_future(server.respond(get, late)))  # type: ignore[arg-type]
        await loops.until(lambda: len(begun) == 6)
        release.set()
        await asyncio.gather(*tasks)
        assert (pool._free._value, pool._beginning._value, pool._waiting) == (8, 4, 0)
        return [protocol.replies[0].status for protocol in [*protocols, late]]

    monkeypatch.setattr(bridge, "_BEGINNING_SECONDS", 0.5)
    assert loops.run(send()) == [200] * 4 + [499] + [200] * 2


def test_a_cancelled_request_leaves_its_place_to_others() -> None:
    async def cancel(*, at_once: bool) -> int:
        semaphore = asyncio.Semaphore(1)
        await semaphore.acquire()
        protocol: Any = Staying([])
        tasks = [asyncio.ensure_future(bridge._acquire(semaphore, protocol, PATIENCE)) for _ in range(3)]
        await asyncio.sleep(0)
        if at_once:
            semaphore.release()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not at_once:
            semaphore.release()
        return semaphore._value

    assert [loops.run(cancel(at_once=at_once)) for at_once in (False, True)] == [1, 1]


def test_an_error_is_in_the_api_format() -> None:
    reply = request(Protocol([b"1"], is_cut_off=True), content_length="2")
    assert json.loads(reply.body)["error"]["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_large_answer_is_sent_from_a_file(method: str) -> None:
    large = bytes(range(256)) * 1024

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(len(large)))])
        return [large]

    class FromFile(Protocol):
        files = 0

        def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None:
            super().response_file(status, headers, file)
            self.files += 1

    protocol = FromFile([])
    assert request(protocol, method, application=application).body == large
    assert protocol.files == (method == "GET")


def test_the_server_reads_a_static_file_itself(tmp_path: Path) -> None:
    (tmp_path / "style.css").write_bytes(b"x" * 1000)
    closed = []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "1000")])
        file = (tmp_path / "style.css").open("rb")
        closed.append(file)
        return environ.get("wsgi.file_wrapper", FileWrapper)(file, 100)  # type: ignore[no-any-return]

    class FromFile(Protocol):
        def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None:
            super().response_file(status, [*headers, ("X-File", file)], file)

    reply = request(FromFile([]), "GET", "/static/style.css", application)
    assert (reply.body, reply.headers["X-File"]) == (b"x" * 1000, f"{tmp_path}/style.css")
    # A file that the application may delete after its answer is read at once.
    other = request(FromFile([]), "GET", "/admin/export/", application)
    assert other.body == b"x" * 1000
    assert "X-File" not in other.headers
    assert all(file.closed for file in closed)


def test_with_a_full_disk_a_large_answer_is_sent_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(content: bytes) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [bytes(100_000)]

    monkeypatch.setattr(bridge, "_file_of", is_full)
    assert request(Protocol([]), "GET", application=application).body == bytes(100_000)


class Readiness:
    """Answers /ready, whose check ends when ``is_over`` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.checks, self.is_over = 0, threading.Event()

        def ready(request: Any) -> HttpResponse:
            self.checks += 1
            self.is_over.wait(PATIENCE)
            return HttpResponse(b"checked", status=418, headers={"Retry-After": "5"})

        monkeypatch.setattr("monitoring.api.views.ready", ready)
        self._readiness = web._Readiness()

    def answers(self, number: int) -> list[tuple[int, bytes]]:
        async def ask_all() -> list[tuple[int, bytes]]:
            answers = await asyncio.gather(*(self._readiness.answer() for _ in range(number)))
            return [(answer.status, answer.body) for answer in answers]

        return loops.run(ask_all())


def test_ready_is_what_the_view_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "READY_SECONDS", PATIENCE)
    readiness = Readiness(monkeypatch)
    threading.Timer(0.1, readiness.is_over.set).start()
    assert readiness.answers(50) == [(418, b"checked")] * 50
    assert readiness.checks == 1
    assert readiness.answers(1) == [(418, b"checked")]
    assert readiness.checks == 2


def test_ready_does_not_wait_for_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "READY_SECONDS", 0.2)
    readiness = Readiness(monkeypatch)
    for _ in range(2):
        ((status, body),) = set(readiness.answers(3))
        assert (status, json.loads(body)) == (503, {"status": "unavailable", "database": False, "cache": False})
    assert readiness.checks == 1
    readiness.is_over.set()


class _Headers(dict[str, str]):
    """Leave values that are not ASCII out of ``items()``, as granian does."""

    def items(self) -> Any:
        return [(name, value) for name, value in super().items() if value.isascii()]


@pytest.mark.parametrize(
    ("name", "status"),
    [("x-forwarded-for", 400), ("idempotency-key", 400), ("cookie", 200), ("user-agent", 200), ("x-own", 400)],
)
def test_a_header_that_the_server_loses_is_refused_if_it_matters(name: str, status: int) -> None:
    scope: Any = RequestScope("GET", "/employees", _Headers({"host": "testserver", name: "\xff, 10.0.0.1"}))
    protocol = Protocol([])
    loops.run(bridge.Bridge(django).respond(scope, protocol))  # type: ignore[arg-type]
    assert protocol.replies[0].status == status
    if status == 400:
        assert name in protocol.replies[0].body.decode()


def test_a_content_type_that_takes_long_to_parse_is_refused() -> None:
    for path in ("/employees", "/admin/login/", "/nothing"):
        for method in ("GET", "POST"):
            longest = "multipart/form-data;".ljust(1024, ";")
            assert request(Protocol([]), method, path, content_type=longest).status == 200
            refused = request(Protocol([b"x"]), method, path, content_type=f"{longest};", content_length="99999999")
            assert (refused.status, refused.code, refused.headers["connection"]) == (400, "VALIDATION_ERROR", "close")
    assert len(PASSED_ON) == 6


def test_imports_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/admin/employees/employee/import/"
    monkeypatch.setattr(bridge, "MOST_IMPORTS", 0)
    assert request(Protocol([]), "GET", path=path).status == 200
    refused = Protocol([b"x" * 1000] * 5)
    assert request(refused, path=path, content_length="5000").status == 503
    assert refused.consumed == 5000  # the client sees the answer only when it has sent its body
    assert request(Protocol([b"12345"]), path=path, content_length="5").status == 503
    assert request(Protocol([b"12345"]), path="/employees", content_length="5").status == 200


def test_large_responses_are_files_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def large(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"x" * (bridge.LARGEST_IN_MEMORY + 1)]

    # A call would fail.
    monkeypatch.setattr(bridge, "_file_of", None)
    monkeypatch.setattr(bridge, "_MOST_FILES", 0)
    reply = request(Protocol([]), "GET", application=large)
    assert (reply.status, len(reply.body)) == (200, bridge.LARGEST_IN_MEMORY + 1)
