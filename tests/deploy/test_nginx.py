"""deploy/nginx.conf under a real nginx: it answers in JSON, drops forged headers, and bypasses a stopped server."""

import json
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from email.message import Message
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from config.dev.embedded import free_port
from tests.deploy.nginx import EXAMPLE, nginx
from tests.waiting import PATIENCE, seconds_until

# The status, the headers and the body.
Answer = tuple[int, Message, bytes]
HOST = "directory.example.ru"


class Upstream(ThreadingHTTPServer):
    """Record the requests that reach the web server, and answer each with 200."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Recorder)
        self.requests: list[tuple[str, str, Message, bytes]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Recorder(BaseHTTPRequestHandler):
    server: Upstream

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path, self.headers, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 (http.server's name)

    def log_message(self, *args: Any) -> None:
        pass


class Proxy:
    """Run nginx with the example, whose ports and certificates are replaced."""

    def __init__(self, folder: Path) -> None:
        self.port, plain, *ports = (free_port() for _ in range(4))
        self.upstreams = [Upstream(port) for port in ports]
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "pair.pem")
        text = re.sub(r"(ssl_certificate(?:_key)?) \S+;", rf"\1 {folder}/pair.pem;", EXAMPLE)
        text = re.sub(r"listen \[::\].*\n", "", text)
        replaced = {
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "listen 80": f"listen 127.0.0.1:{plain}",
            "127.0.0.1:8095": f"127.0.0.1:{ports[0]}",
            "127.0.0.1:8096": f"127.0.0.1:{ports[1]}",
        }
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        argv = nginx(folder, text)
        checked = subprocess.run([*argv, "-t"], capture_output=True, text=True, check=False)  # noqa: S603
        assert checked.returncode == 0, checked.stderr
        self.process = subprocess.Popen(argv)  # noqa: S603
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)
        seconds_until(lambda: self.send("GET", "/health")[0] == 200)
        for upstream in self.upstreams:
            upstream.requests.clear()

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Message, bytes]:
        """Send a request over TLS; return the status (0 if nobody listens), the headers and the body."""
        connection = HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=PATIENCE)
        try:
            connection.request(method, path, body or None, {"Host": HOST, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except ConnectionRefusedError:
            return 0, Message(), b""
        finally:
            connection.close()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        for upstream in self.upstreams:
            upstream.stop()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    proxy = Proxy(tmp_path_factory.mktemp("nginx"))
    yield proxy
    proxy.stop()


def received(proxy: Proxy) -> list[tuple[str, str, Message, bytes]]:
    """Return the requests that reached either web server, and forget them."""
    requests = [request for upstream in proxy.upstreams for request in upstream.requests]
    for upstream in proxy.upstreams:
        upstream.requests.clear()
    return requests


def test_it_passes_the_address_and_drops_forged_headers(proxy: Proxy) -> None:
    received(proxy)
    forged = {"X_Forwarded_For": "10.9.9.9", "X_Forwarded_Proto": "http", "X-Forwarded-Proto": "http"}
    forged["X-Forwarded-For"] = "198.51.100.7"
    assert proxy.send("GET", "/employees?q=%D0%98", headers=forged)[0] == 200
    [(_, path, headers, _)] = received(proxy)
    assert path == "/employees?q=%D0%98"
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers["Host"] == HOST
    assert not [name for name in headers if "_" in name]


@pytest.mark.parametrize(
    ("path", "size"), [("/webhook/max", 400_000), ("/api/v1/webhook/max/", 400_000), ("/import", 17_000_000)]
)
def test_a_body_that_is_too_large_is_refused_in_json(proxy: Proxy, path: str, size: int) -> None:
    received(proxy)
    status, headers, body = proxy.send("POST", path, headers={"Content-Length": str(size)})
    assert status == 413
    assert headers.get_content_type() == "application/json"
    assert json.loads(body)["error"]["code"] == "PAYLOAD_TOO_LARGE"
    assert received(proxy) == []


def test_too_many_log_ins_are_refused_in_json(proxy: Proxy) -> None:
    statuses: list[int] = []
    # Eleven at once, and one more in every two seconds that this takes.
    while 429 not in statuses and len(statuses) < 60:
        status, headers, body = proxy.send("POST", "/api/token", b"{}")
        statuses.append(status)
    assert statuses == [200] * (len(statuses) - 1) + [429]
    assert len(statuses) > 11
    assert json.loads(body)["error"]["code"] == "RATE_LIMITED"
    assert int(headers["Retry-After"]) > 0
    assert {proxy.send("POST", "/webhook/max", b"{}")[0] for _ in range(100)} == {200}


def test_it_sends_each_request_to_a_server_that_accepts_it_and_no_post_twice(proxy: Proxy) -> None:
    stopped = proxy.upstreams[0]
    stopped.stop()
    received(proxy)
    try:
        bodies = [f'{{"number": {number}}}'.encode() for number in range(30)]
        assert {proxy.send("POST", "/webhook/max", body)[0] for body in bodies} == {200}
        assert [body for *_, body in received(proxy)] == bodies
    finally:
        proxy.upstreams[0] = Upstream(stopped.server_port)
