"""A browser for the screens; without playwright or chromium the tests here are skipped, and say so."""

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
    """A page, and what it must not do: complain on the console, or ask another host."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._dismiss)
        page.on("request", self._look)

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _dismiss(self, dialog: Any) -> None:
        self.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _look(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.strangers.append(request.url)

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path, wait_until="networkidle")
        return self.page

    def faults(self) -> list[str]:
        """Return the serious faults of accessibility that axe finds on the page as it is."""
        # Evaluated by the debugger: the page's own policy would refuse it as a script.
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{fault['id']}: {node['html'][:200]}"
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]


@pytest.fixture
def watched(chromium: Browser, live_server: Any, phases: Phases, redis: Any) -> Iterator[Watched]:
    """The operator's browser, logged in, in the middle of a migration."""
    stage.operator()
    stage.fill(300)
    heartbeat_thread.start("web")
    context = chromium.new_context(locale="ru-RU", viewport={"width": 1400, "height": 900})
    watched = Watched(context.new_page(), live_server.url)
    log_in(watched.page, live_server.url)
    yield watched
    context.close()
    heartbeat_thread.stop()
    assert watched.complaints == []
    assert watched.strangers == []
