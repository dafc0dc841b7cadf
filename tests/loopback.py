"""An HTTP server on loopback that answers as a test wants: late, byte by byte, over TLS, or not at all."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Answer(NamedTuple):
    """A response: ``delay`` seconds before it, ``drip`` after each byte of the body, ``head_drip`` of the headers too.

    With ``hangs_up`` the connection is closed instead.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = {}
    drip: float = 0.0
    head_drip: float = 0.0
    delay: float = 0.0
    hangs_up: bool = False


class Asked(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    body: Any


class _Dripping:
    def __init__(self, file: Any, pause: float) -> None:
        self._file, self._pause = file, pause

    def write(self, data: bytes) -> None:
        for start in range(len(data)):
            self._file.write(data[start : start + 1])
            time.sleep(self._pause)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    scheme = "http"
    connections = 0

    def __init__(self, answer_to: Callable[[Asked, str | None], Answer], *, keeps_alive: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer_to, self.keeps_alive = answer_to, keeps_alive

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def process_request(self, *args: Any) -> None:
        self.connections += 1
        super().process_request(*args)

    def handle_error(self, *args: Any) -> None:
        """Ignore clients that hang up or refuse the certificate: tests are about them."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def setup(self) -> None:
        super().setup()
        self.protocol_version = "HTTP/1.1" if self.server.keeps_alive else "HTTP/1.0"

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_json = sent and "protobuf" not in self.headers["Content-Type"]
        asked = Asked(self.command, url.path, dict(parse_qsl(url.query)), json.loads(sent) if is_json else sent or None)
        answer = self.server.answer_to(asked, self.headers["Authorization"])
        time.sleep(answer.delay)
        if answer.hangs_up:
            self.close_connection = True
            return
        try:
            self.reply(answer)
        except ConnectionError:
            return  # the client hung up

    do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 (the server's names)

    def reply(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        if answer.head_drip:
            self.wfile = _Dripping(self.wfile, answer.head_drip)  # type: ignore[assignment]
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if self.server.keeps_alive:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        (_Dripping(self.wfile, answer.drip) if answer.drip else self.wfile).write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(
    answer_to: Callable[[Asked, str | None], Answer],
    *,
    certificate: tuple[str, str] | None = None,
    keeps_alive: bool = False,
) -> Iterator[Server]:
    """Start a server; ``answer_to`` gets each request and its Authorization header.

    With a certificate, the paths of it and its key, it speaks TLS; with keep-alive it sends Content-Length.
    """
    with Server(answer_to, keeps_alive=keeps_alive) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.scheme = "https"
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
