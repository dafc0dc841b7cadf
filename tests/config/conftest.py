"""The web server's application, as granian starts it, for tests that send to it without the network between."""

import asyncio
from collections.abc import Iterator

import pytest
from django.db import connections

from config.postgres.base import DatabaseWrapper
from config.web import WebServer
from profiles.rollout.heartbeat import heartbeat_thread
from tests import loops


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(heartbeat_thread, "start", lambda kind: None)
    monkeypatch.setattr(DatabaseWrapper, "commit_seconds", 0.0)
    # Each request closes its connection, because the threads end with the test.
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    server = WebServer()

    async def start() -> None:
        server.__rsgi_init__(asyncio.get_running_loop())

    loops.run(start())
    yield server
    loops.run(server.drain())
