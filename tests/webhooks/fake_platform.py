"""The messenger's platform API on loopback: subscriptions and long polling as MAX does them, and what a test sets."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

TOKEN = "bot-token"


class Answer(NamedTuple):
    status: int = 200
    body: Any = b""
    headers: dict[str, str] = {}
    drip: float = 0.0


class Asked(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass
class FakePlatform:
    """``answers`` are given, one a request, before any honest one; ``updates`` are what long polling has."""

    subscriptions: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def sends_to(self, *urls: str, update_types: list[str] | None = None) -> None:
        now = int(time.time() * 1000)
        self.subscriptions += [{"url": url, "time": now, "update_types": update_types} for url in urls]

    @property
    def urls(self) -> list[str]:
        return [subscription["url"] for subscription in self.subscriptions]

    @property
    def writes(self) -> list[tuple[str, str]]:
        """What was asked for but reading: method and address."""
        return [(one.method, one.query.get("url") or one.body["url"]) for one in self.asked if one.method != "GET"]

    def honest(self, asked: Asked, authorization: str | None) -> Answer:
        if authorization != TOKEN:
            return Answer(401, {"code": "verify.token", "message": "Invalid access_token"})
        return {
            ("GET", "/subscriptions"): self._list,
            ("POST", "/subscriptions"): self._subscribe,
            ("DELETE", "/subscriptions"): self._unsubscribe,
            ("GET", "/updates"): self._poll,
        }[asked.method, asked.path](asked)

    def _list(self, asked: Asked) -> Answer:
        return Answer(200, {"subscriptions": self.subscriptions})

    def _subscribe(self, asked: Asked) -> Answer:
        self.sends_to(asked.body["url"], update_types=asked.body["update_types"])
        self.secrets[asked.body["url"]] = asked.body["secret"]
        return Answer(200, {"success": True})

    def _unsubscribe(self, asked: Asked) -> Answer:
        if asked.query["url"] not in self.urls:
            return Answer(200, {"success": False, "message": "No such subscription", "code": "not.found"})
        self.subscriptions = [one for one in self.subscriptions if one["url"] != asked.query["url"]]
        return Answer(200, {"success": True})

    def _poll(self, asked: Asked) -> Answer:
        # Without a marker MAX gives the newest update alone.
        start = int(asked.query.get("marker", max(len(self.updates) - 1, 0)))
        ends_at = time.monotonic() + float(asked.query["timeout"])
        while len(self.updates) <= start and time.monotonic() < ends_at:
            time.sleep(0.01)
        part = self.updates[start : start + int(asked.query["limit"])]
        return Answer(200, {"updates": part, "marker": start + len(part)})


@contextmanager
def fake_platform(certificate: tuple[str, str] | None = None) -> Iterator[FakePlatform]:
    """Serve over TLS when the paths of a certificate and its key are given."""
    fake = FakePlatform()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            url = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, url.path, dict(parse_qsl(url.query)), json.loads(sent) if sent else None)
            fake.asked.append(asked)
            answer = fake.answers.pop(0) if fake.answers else fake.honest(asked, self.headers["Authorization"])
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            step = 1 if answer.drip else len(body) or 1
            try:
                for start in range(0, len(body), step):
                    self.wfile.write(body[start : start + step])
                    time.sleep(answer.drip)
            except ConnectionError:
                return  # the client had enough

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 (the server's names)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    fake.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    yield fake
    server.shutdown()
    server.server_close()
