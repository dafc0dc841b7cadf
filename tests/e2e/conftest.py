"""A browser for the admin's pages; the tests are skipped without playwright or chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-e2e")
from playwright.sync_api import Browser, Page, sync_playwright

from profiles.rollout.heartbeat import heartbeat_thread
from tests.conftest import Phases
from tests.e2e import stage
from tests.e2e.browser import ARGUMENTS, EXECUTABLE, log_in

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
# Playwright's loop runs in the main thread, where Django would refuse the database.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if EXECUTABLE is None:
        pytest.skip("no chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        yield browser
        browser.close()


class Watched:
    """A page that records errors on its console and requests to other hosts."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.errors: list[str] = []
        self.foreign_requests: list[str] = []
        page.on("console", self._record_message)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._dismiss)
        page.on("request", self._record_request)

    def _record_message(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _dismiss(self, dialog: Any) -> None:
        self.errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _record_request(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.foreign_requests.append(request.url)

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path, wait_until="networkidle")
        return self.page

    def faults(self) -> list[str]:
        """Return the serious accessibility faults that axe finds on the page."""
        # Through the debugger: the page's Content-Security-Policy would refuse a script.
        self.page.evaluate(AXE.read_text())
        result = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{fault['id']}: {node['html'][:200]}"
            for fault in result["violations"]
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]


@pytest.fixture
def watched(chromium: Browser, live_server: Any, phases: Phases, redis: Any) -> Iterator[Watched]:
    """Return the operator's browser, logged in, in the middle of a migration."""
    stage.operator()
    stage.fill(300)
    heartbeat_thread.start("web")
    context = chromium.new_context(locale="ru-RU", viewport={"width": 1400, "height": 900})
    watched = Watched(context.new_page(), live_server.url)
    log_in(watched.page, live_server.url)
    yield watched
    context.close()
    heartbeat_thread.stop()
    assert watched.errors == []
    assert watched.foreign_requests == []
