"""The server alone: an empty answer from the event loop, without a body being read, without Django and PostgreSQL."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from granian.rsgi import HTTPProtocol, Scope


async def application(_scope: Scope, protocol: HTTPProtocol) -> None:
    protocol.response_bytes(HTTPStatus.OK, [("content-type", "application/json")], b"{}")
