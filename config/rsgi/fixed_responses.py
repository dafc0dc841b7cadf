"""Responses that are built once; the event loop sends them unchanged, without Django."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from config.lib import request_id
from config.lib.http.errors import RETRY_AFTER_SECONDS
from config.lib.http.errors import body as error_body

if TYPE_CHECKING:
    from granian.rsgi import HTTPProtocol

# The server cannot reuse a connection on which the rest of a body may still arrive.
CLOSE = ("connection", "close")
RETRY_AFTER = ("retry-after", str(RETRY_AFTER_SECONDS))


class Answer:
    def __init__(
        self, status: int, body: bytes, *headers: tuple[str, str], content_type: str = "application/json"
    ) -> None:
        self.status = status
        self.body = body
        self.headers = [("content-type", content_type), ("cache-control", "no-store"), *headers]

    def send(self, protocol: HTTPProtocol) -> None:
        headers = [*self.headers, ("x-request-id", request_id.current.get())]
        protocol.response_bytes(self.status, headers, self.body)


def refusal(status: HTTPStatus, message: str, *headers: tuple[str, str]) -> Answer:
    """Return an answer in the API's format for errors (``config.lib.http.errors``)."""
    return Answer(status, json.dumps(error_body(status, message)).encode(), *headers)
