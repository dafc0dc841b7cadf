"""The messenger's direct API on loopback: what it answers is set by the test."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeMax:
    users: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    url: str = ""

    def knows(self, phone: str, user_id: int, first_name: str = "Олег", last_name: str = "Сидоров") -> None:
        self.users.append(
            {"user_id": user_id, "first_name": first_name, "last_name": last_name, "phone_number": phone.lstrip("+")}
        )

    def answer(self) -> bytes:
        return json.dumps({"users": self.users}).encode() if self.body is None else self.body


@contextmanager
def fake_max() -> Iterator[FakeMax]:
    fake = FakeMax()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.requests.append((self.path, self.headers["Authorization"], sent))
            time.sleep(fake.delay)
            self.send_response(fake.status)
            for name, value in fake.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.pour(fake.answer())

        def pour(self, body: bytes) -> None:
            step = 1 if fake.drip else 64 * 1024
            try:
                for start in range(0, len(body), step):
                    self.wfile.write(body[start : start + step])
                    time.sleep(fake.drip)
            except ConnectionError:
                return  # the client had enough

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    yield fake
    server.shutdown()
    server.server_close()
