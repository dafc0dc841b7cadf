"""The RSGI application of the web server.

The event loop of each worker receives updates (webhooks.receiver), answers /health and /ready, and takes in the bodies
of all other requests, which Django then serves in threads (config.bridge).
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from config import wsgi

# config.wsgi has set up Django, which the next imports need.
# isort: split
from config.bridge import Bridge
from config.lib import request_id
from config.lib.answers import Answer
from profiles.rollout.heartbeat import heartbeat_thread
from webhooks import receiver

if TYPE_CHECKING:
    from granian.rsgi import HTTPProtocol, Scope

_HEALTHY = Answer(HTTPStatus.OK, json.dumps({"status": "ok"}).encode())
_HEALTH_PATHS = frozenset(("/health", "/health/", "/api/v1/health", "/api/v1/health/"))


class WebServer:
    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._receiver = receiver.Receiver()
        self._django = Bridge(wsgi.application)
        heartbeat_thread.start("web")

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(self.drain())

    async def drain(self) -> None:
        await self._receiver.drain()
        self._django.close()

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        if scope.path in receiver.PATHS:
            await self._receiver.respond(scope, protocol)
        elif scope.path in _HEALTH_PATHS and scope.method in ("GET", "HEAD"):
            request_id.begin(scope.headers.get("x-request-id", ""))
            _HEALTHY.send(protocol)
        else:
            await self._django.respond(scope, protocol)


application = WebServer()
