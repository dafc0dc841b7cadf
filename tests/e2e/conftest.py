"""A browser for the pages; without playwright or chromium the tests are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-e2e")
from playwright.sync_api import Browser, Page, TimeoutError, sync_playwright  # noqa: A004 (its own)

from profiles.rollout.heartbeat import heartbeat_thread
from tests.conftest import Phases
from tests.e2e import sample_data
from tests.e2e.browser import ARGUMENTS, EXECUTABLE, log_in

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
# A transition begins one frame after its element is shown; a spinner has no end.
SETTLED = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    await frame();
    await frame();
    const running = document.getAnimations().filter(
        one => one.playState === "running" && one.effect.getComputedTiming().endTime !== Infinity);
    await Promise.allSettled(running.map(one => one.finished));
}"""
# Playwright runs an event loop in the main thread, where Django would refuse queries.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if EXECUTABLE is None:
        pytest.skip("no chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        yield browser
        browser.close()


class WatchedPage:
    """A page with its console errors, its dialogs, and its requests to other hosts, none of which are allowed."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.errors: list[str] = []
        self.foreign_requests: list[str] = []
        page.on("console", self._add_error)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._dismiss)
        page.on("request", self._check_host)

    def _add_error(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _dismiss(self, dialog: Any) -> None:
        self.errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _check_host(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.foreign_requests.append(request.url)

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path, wait_until="networkidle")
        return self.page

    def faults(self) -> list[str]:
        """Return the serious accessibility faults that axe finds on the page once its transitions have ended.

        A menu that is still fading in has too little contrast.
        """
        self.page.evaluate(SETTLED)
        # The debugger evaluates it: the page's policy would refuse it as a script.
        self.page.evaluate(AXE.read_text())
        result = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{fault['id']}: {node['html'][:200]}"
            for fault in result["violations"]
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]

    def unfit(self, picture: Path | None = None) -> list[str]:
        """Return the faults of the open page at a desk's and a phone's width, light and dark, and what is too wide.

        Each of the four is photographed if ``picture`` is given, the beginning of the files' names.
        """
        found = []
        for width in (1400, 390):
            self.page.set_viewport_size({"width": width, "height": 900})
            with suppress(TimeoutError):
                # Charts take the new width a moment later.
                self.page.wait_for_function(f"document.documentElement.scrollWidth <= {width}", timeout=5000)
            if (wide := self.page.evaluate("document.documentElement.scrollWidth")) > width:
                found.append(f"{width}: {wide} px wide")
            for scheme in ("light", "dark"):
                # Without loading the page again, which may show something once.
                is_dark = str(scheme == "dark").lower()
                self.page.evaluate(f"document.documentElement.classList.toggle('dark', {is_dark})")
                found += [f"{width} {scheme}: {fault}" for fault in self.faults()]
                if picture:
                    self.page.screenshot(path=f"{picture}-{width}-{scheme}.png", full_page=True)
        self.page.set_viewport_size({"width": 1400, "height": 900})
        return found


@pytest.fixture
def watched(chromium: Browser, live_server: Any, phases: Phases, redis: Any) -> Iterator[WatchedPage]:
    """The page of an operator who is logged in, with sample data."""
    sample_data.operator()
    sample_data.fill(300)
    heartbeat_thread.start("web")
    context = chromium.new_context(locale="ru-RU", viewport={"width": 1400, "height": 900})
    watched = WatchedPage(context.new_page(), live_server.url)
    log_in(watched.page, live_server.url)
    yield watched
    context.close()
    heartbeat_thread.stop()
    assert watched.errors == []
    assert watched.foreign_requests == []
