"""Posts to the webhook as the web server does: through the WSGI application."""

import io
import json
from dataclasses import dataclass
from typing import Any

from config.wsgi import application


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


class ChunkedInput(io.BytesIO):
    """A body without a Content-Length; counts the bytes that were read."""

    consumed = 0

    def read(self, size: int | None = -1) -> bytes:
        part = super().read(size)
        self.consumed += len(part)
        return part


def send(
    body: Any = b"",
    *,
    method: str = "POST",
    path: str = "/webhook/max",
    content_type: str = "application/json",
    chunked: ChunkedInput | None = None,
    **headers: str,
) -> Reply:
    """Send a body, JSON unless it is bytes; headers are named as Python names (``x_max_bot_api_secret``)."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "CONTENT_TYPE": content_type,
        "wsgi.input": chunked or io.BytesIO(content),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    environ |= {"HTTP_TRANSFER_ENCODING": "chunked"} if chunked else {"CONTENT_LENGTH": str(len(content))}
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [int(status[:3]), dict(headers)]

    content = b"".join(application(environ, start_response))
    status, sent_headers = started
    return Reply(status, sent_headers, content)
