"""deploy/nginx.conf and deploy/Caddyfile under real proxies: forged headers, limits, and a server that has stopped.

``make test-deploy`` runs them with Debian's nginx and with Caddy too.
"""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from config.dev.embedded import free_port
from tests.deploy.proxy import HOST, NGINXES, PROGRAMS, Proxy

BY_NGINX = pytest.mark.parametrize("served", [name for name in PROGRAMS if name in NGINXES], indirect=True)
BY_EACH = pytest.mark.parametrize("served", PROGRAMS, indirect=True)
Request = tuple[str, str, Message, bytes]


class Upstream(ThreadingHTTPServer):
    """Record the requests that reach the web server, and answer each with 200; or reset each connection."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, *, is_starting: bool = False) -> None:
        super().__init__(("127.0.0.1", port), Recorder)
        self.requests: list[Request] = []
        self.is_starting = is_starting
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Recorder(BaseHTTPRequestHandler):
    server: Upstream

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.is_starting:
            # As Docker does while it has the port and the server of the container does not listen yet.
            self.close_connection = True
            return
        self.server.requests.append((self.command, self.path, self.headers, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 (http.server's name)

    def log_message(self, *args: Any) -> None:
        pass


@dataclass
class Served:
    """A proxy, and the two web servers behind it."""

    proxy: Proxy
    servers: list[Upstream] = field(default_factory=list)

    def requests(self) -> list[Request]:
        """Return the requests that reached either web server, and forget them."""
        requests = [request for server in self.servers for request in server.requests]
        for server in self.servers:
            server.requests.clear()
        return requests


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    servers = [Upstream(free_port()) for _ in range(2)]
    # A server that has failed gets the next request too. A test of ten seconds would be of the same rule.
    shorter = {"max_fails=3 fail_timeout=1s": "max_fails=0", "client_body_timeout 10s": "client_body_timeout 1s"}
    shorter = {"fail_duration 1s": "fail_duration 0s"} if request.param == "caddy" else shorter
    folder = tmp_path_factory.mktemp("proxy")
    proxy = Proxy(folder, [server.server_port for server in servers], request.param, **shorter)
    served = Served(proxy, servers)
    served.requests()
    yield served
    proxy.stop()
    for server in servers:
        server.stop()


@BY_EACH
def test_it_passes_the_address_and_drops_forged_headers(served: Served) -> None:
    served.requests()
    forged = {"X-Forwarded-Proto": "http", "X-Forwarded-For": "198.51.100.7"}
    forged |= {"X_Forwarded_For": "10.9.9.9", "X_Forwarded_Proto": "http"}
    assert served.proxy.send("GET", "/employees?q=%D0%98", headers=forged)[0] == 200
    [(_, path, headers, _)] = served.requests()
    assert path == "/employees?q=%D0%98"
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers["Host"] == HOST


@pytest.mark.long
@BY_NGINX
def test_it_drops_headers_with_underscores(served: Served) -> None:
    served.requests()
    # Caddy passes them on; the web server drops them itself.
    served.proxy.send("GET", "/employees", headers={"X_Forwarded_For": "10.9.9.9"})
    [(_, _, headers, _)] = served.requests()
    assert not [name for name in headers if "_" in name]


@BY_EACH
def test_it_publishes_no_metrics(served: Served) -> None:
    served.requests()
    assert {served.proxy.send("GET", path)[0] for path in ("/metrics", "/api/v1/metrics/")} == {404}
    assert served.requests() == []


@pytest.mark.long
@BY_NGINX
@pytest.mark.parametrize(
    ("path", "size"), [("/webhook/max", 400_000), ("/api/v1/webhook/max/", 400_000), ("/import", 17_000_000)]
)
def test_a_body_that_is_too_large_is_refused_in_json(served: Served, path: str, size: int) -> None:
    served.requests()
    status, headers, body = served.proxy.send("POST", path, headers={"Content-Length": str(size)})
    assert status == 413
    assert headers.get_content_type() == "application/json"
    assert json.loads(body)["error"]["code"] == "PAYLOAD_TOO_LARGE"
    assert served.requests() == []


@pytest.mark.long
@BY_NGINX
def test_a_body_that_is_too_slow_never_reaches_the_server(served: Served) -> None:
    served.requests()
    connection = served.proxy.connect()
    connection.putrequest("POST", "/webhook/max", skip_host=True)
    for name, value in {"Host": HOST, "Content-Length": "100"}.items():
        connection.putheader(name, value)
    connection.endheaders(b"{")
    began = time.monotonic()
    # nginx closes the connection without an answer, or with 408.
    assert connection.sock.recv(65536)[:12] in (b"", b"HTTP/1.1 408")
    assert time.monotonic() - began > 0.9
    connection.close()
    assert served.requests() == []


@BY_NGINX
def test_too_many_log_ins_are_refused_in_json(served: Served) -> None:
    statuses: list[int] = []
    # Eleven at once, and one more in every two seconds that this takes.
    while 429 not in statuses and len(statuses) < 60:
        status, headers, body = served.proxy.send("POST", "/api/token", b"{}")
        statuses.append(status)
    assert statuses == [200] * (len(statuses) - 1) + [429]
    assert len(statuses) > 11
    assert json.loads(body)["error"]["code"] == "RATE_LIMITED"
    assert int(headers["Retry-After"]) > 0
    assert {served.proxy.send("POST", "/webhook/max", b"{}")[0] for _ in range(100)} == {200}


@pytest.mark.long
@BY_EACH
@pytest.mark.parametrize("path", ["/webhook/max", "/employees", "/api/v1/employees/"])
def test_it_bypasses_a_server_that_has_stopped_or_is_starting(served: Served, path: str) -> None:
    replaced = served.servers[0]
    replaced.stop()
    bodies = [f'{{"number": {number}}}'.encode() for number in range(30)]
    try:
        served.requests()
        assert {served.proxy.send("POST", path, body)[0] for body in bodies} == {200}
        assert [body for *_, body in served.requests()] == bodies
        served.servers[0] = Upstream(replaced.server_port, is_starting=True)
        assert {served.proxy.send("POST", path, body)[0] for body in bodies} == {200}
        assert [body for *_, body in served.requests()] == bodies
    finally:
        if served.servers[0] is not replaced:
            served.servers[0].stop()
        served.servers[0] = Upstream(replaced.server_port)
