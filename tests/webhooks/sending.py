"""Sends to the web server's application, as granian does, without the network between."""

import json
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from config import wsgi
from tests import loops
from webhooks.receiver import PATHS, Receiver

_receivers: list[Receiver] = []


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


@dataclass
class RequestScope:
    """A request as granian describes it (``granian.rsgi.Scope``)."""

    method: str
    path: str
    headers: Mapping[str, str]
    query_string: str = ""
    client: str = "127.0.0.1:40000"
    server: str = "127.0.0.1:8095"
    scheme: str = "http"
    http_version: str = "1.1"


@dataclass
class Protocol:
    """The body in chunks, ended as granian ends it: with an empty chunk, or with two if the client has left."""

    chunks: list[bytes]
    is_cut_off: bool = False
    consumed: int = 0
    replies: list[Reply] = field(default_factory=list)

    def __aiter__(self) -> "_Chunks":
        return _Chunks(self)

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.replies.append(Reply(status, dict(headers), body))

    def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None:
        self.response_bytes(status, headers, Path(file).read_bytes())


class _Chunks:
    """Iterates as granian does: only once, and the end is an exception of the call, not of the coroutine it returns."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._chunks = iter([*protocol.chunks, b"", *[b""] * protocol.is_cut_off])

    def __anext__(self) -> Awaitable[bytes]:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise StopAsyncIteration
        return self._read(chunk)

    async def _read(self, chunk: bytes) -> bytes:
        self._protocol.consumed += len(chunk)
        return chunk


def send(
    body: Any = b"",
    *,
    method: str = "POST",
    path: str = "/webhook/max",
    content_type: str = "application/json",
    chunked: Protocol | None = None,
    client: str = "127.0.0.1:40000",
    **headers: str,
) -> Reply:
    """Send a body, JSON unless it is bytes; headers are named as Python names (``x_max_bot_api_secret``)."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    protocol = chunked or Protocol([content] if content else [])
    announced = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(content))}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    scope: Any = RequestScope(method, path, {"content-type": content_type} | announced | named, client=client)
    loops.run(_receiver().respond(scope, protocol))  # type: ignore[arg-type]
    (reply,) = protocol.replies
    return reply


def wsgi_application(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Serve everything through WSGI, as a test's own server and schemathesis need it."""
    if environ["PATH_INFO"] not in PATHS:
        return wsgi.application(environ, start_response)
    names = {name: name.removeprefix("HTTP_").lower() for name in environ if name.startswith("HTTP_")}
    reply = send(
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)),
        method=environ["REQUEST_METHOD"],
        content_type=environ.get("CONTENT_TYPE", ""),
        **{key: environ[name] for name, key in names.items() if key != "transfer_encoding"},
    )
    headers = [item for item in reply.headers.items() if item[0] != "connection"]  # of the server, not of WSGI
    headers += [("Content-Length", str(len(reply.body)))]
    start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", headers)
    return [reply.body]


def _receiver() -> Receiver:
    if not _receivers:
        _receivers.append(Receiver())
    return _receivers[0]


def close() -> None:
    """Commit what was sent and close the connections; the next request opens new ones."""
    while _receivers:
        loops.run(_receivers.pop().drain())
