"""The RSGI application of the web server.

The event loop of each worker receives updates (webhooks.receiver), answers /health and /ready, and reads the bodies of
all other requests, which Django then serves in threads (config.rsgi.bridge).
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from config import wsgi

# config.wsgi has set up Django, which the next imports need.
# isort: split
from django.db import close_old_connections
from django.http import HttpRequest

from config.lib import request_id, tracing
from config.postgres import locks
from config.rsgi.bridge import Bridge
from config.rsgi.fixed_responses import RETRY_AFTER, Answer
from monitoring.api import views
from profiles.rollout.heartbeat import heartbeat_thread
from webhooks import receiver

if TYPE_CHECKING:
    from granian.rsgi import HTTPProtocol, Scope

_HEALTHY = Answer(HTTPStatus.OK, b'{"status": "ok"}')
_HEALTH_PATHS, _READY_PATHS = (
    frozenset(f"{prefix}/{name}{slash}" for prefix in ("", "/api/v1") for slash in ("", "/"))
    for name in ("health", "ready")
)
# Answers must arrive within a second (docs/reference/http-api.md); the rest is for a busy machine.
READY_SECONDS = 0.7
_NOT_READY = Answer(
    HTTPStatus.SERVICE_UNAVAILABLE, b'{"status": "unavailable", "database": false, "cache": false}', RETRY_AFTER
)
# A client that does not read its answer is disconnected after this time; until then, the answer is in memory.
UNREAD_SECONDS = 30


class WebServer:
    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._receiver = receiver.Receiver()
        self._readiness = _Readiness()
        self._django = Bridge(wsgi.application)
        # Otherwise, requests that wait for a lost standby would occupy all threads, and an emergency stop needs one.
        locks.limit_commits()
        heartbeat_thread.start("web")
        # The first callback runs when the server is listening.
        loop.call_soon(_limit_unread_answers)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(self.drain())

    async def drain(self) -> None:
        await self._receiver.drain()
        self._django.close()
        tracing.stop()

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        path = scope.path
        if path in receiver.PATHS:
            await self._receiver.respond(scope, protocol)
        elif path in _HEALTH_PATHS and scope.method in ("GET", "HEAD"):
            request_id.begin(scope.headers.get("x-request-id", ""))
            _HEALTHY.send(protocol)
        elif path in _READY_PATHS and scope.method in ("GET", "HEAD"):
            request_id.begin(scope.headers.get("x-request-id", ""))
            (await self._readiness.answer()).send(protocol)
        else:
            await self._django.respond(scope, protocol)


class _Readiness:
    """Check PostgreSQL and Redis in a thread; requests that arrive during a check share the answer of that check."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "ready")
        self._check: asyncio.Future[Answer] | None = None

    async def answer(self) -> Answer:
        """Return the answer to /ready within READY_SECONDS: 503 if a store fails or the check takes longer."""
        check = self._check
        if check is None or check.done():
            check = self._check = asyncio.get_running_loop().run_in_executor(self._thread, _check_stores)
        done, _ = await asyncio.wait([check], timeout=READY_SECONDS)
        return check.result() if done and not check.exception() else _NOT_READY


def _check_stores() -> Answer:
    request = HttpRequest()
    request.method = "GET"
    close_old_connections()
    response = views.ready(request)
    close_old_connections()
    retry_after = [("retry-after", response["Retry-After"])] if "Retry-After" in response else []
    return Answer(response.status_code, response.content, *retry_after)


def _limit_unread_answers() -> None:
    """Set TCP_USER_TIMEOUT on the listening socket, so that clients that do not read their answers are disconnected.

    granian has no option for this.
    """
    for descriptor in Path("/dev/fd").iterdir():
        try:
            candidate = socket.socket(fileno=int(descriptor.name))
        except OSError:
            continue  # not a socket
        is_tcp = candidate.family in (socket.AF_INET, socket.AF_INET6) and candidate.type == socket.SOCK_STREAM
        if is_tcp and candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
        candidate.detach()


application = WebServer()
