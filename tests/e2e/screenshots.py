"""Every screen, 1400 and 390 wide, light and dark: ``make screenshots`` (ARGS='--into DIR --only NAME')."""

from tests.bench.rows import migrate  # sets Django up

# isort: split
import argparse
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from profiles.rollout.heartbeat import pulse
from tests.e2e import stage
from tests.e2e.browser import ARGUMENTS, EXECUTABLE, log_in


def open_menu(page: Page) -> None:
    """Open the user's menu where there is room for the sidebar that it is in."""
    opener = page.locator("[x-on\\:click='openUserLinks = !openUserLinks']").first
    if opener.is_visible():
        opener.click()
        page.wait_for_timeout(300)


# Name and path, and what is done before the picture is taken. Others add their own screens here.
SCREENS: list[tuple[str, str, Callable[[Page], None] | None]] = [
    ("home", "/admin/", None),
    ("rollout", "/admin/rollout/", None),
    ("step", "/admin/steer/3/?percent=50", None),
    ("pause", "/admin/steer/pause/", None),
    ("plan", "/admin/steer/plan/", None),
    ("on-breach", "/admin/steer/on-breach/", None),
    ("rehearsal", "/admin/steer/rehearsal/", None),
    ("emergency", "/admin/emergency/", None),
    ("comparisons", "/admin/comparisons/", None),
    ("checklist", "/admin/checklist/", None),
    ("sources", "/admin/sources/", None),
    ("cache", "/admin/cache/", None),
    ("person", "/admin/person/", lambda page: look_up(page, stage.KNOWN_PHONE)),
    ("employees", "/admin/employees/employee/", None),
    ("employee", "/admin/employees/employee/1/change/", None),
    ("history", "/admin/employees/employee/1/history/", None),
    ("import", "/admin/employees/employee/import/", None),
    ("export", "/admin/employees/employee/export/", None),
    ("universities", "/admin/employees/university/", None),
    ("backfills", "/admin/employees/backfillrun/", None),
    ("backfill", "/admin/employees/backfillrun/1/change/", None),
    ("undo", "/admin/employees/backfillrun/1/do/undo/", None),
    ("inbox", "/admin/webhooks/inboxupdate/", None),
    ("update", "/admin/webhooks/inboxupdate/1/change/", None),
    ("dead-letters", "/admin/webhooks/inboxupdate/dead-letters/", None),
    ("replay", "/admin/webhooks/inboxupdate/replay/?state__exact=dead", None),
    ("body", "/admin/webhooks/inboxupdate/1/raw-body/", None),
    ("alerts", "/admin/monitoring/alert/", None),
    ("alert", "/admin/monitoring/alert/1/change/", None),
    ("mute", "/admin/monitoring/alert/1/answer/mute/", None),
    ("audit", "/admin/audit/", None),
    ("groups", "/admin/auth/group/", None),
    ("group", "/admin/auth/group/2/change/", None),
    ("switches", "/admin/waffle/switch/", None),
    ("switch", "/admin/waffle/switch/1/change/", None),
    ("menu", "/admin/cache/", open_menu),
    ("erase", f"/admin/profiles/profile/{stage.KNOWN_ID}/delete/", None),
]
SIZES = {"wide": (1400, 900), "narrow": (390, 844)}
THEMES = ("light", "dark")


def look_up(page: Page, who: str) -> None:
    page.locator("input[name=who]").fill(who)
    page.locator("input[name=who]").press("Enter")
    page.wait_for_load_state("networkidle")


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing of each request."""


def serve() -> str:
    pulse.start("web")
    server = make_server("127.0.0.1", 0, get_wsgi_application(), ThreadedWSGIServer, _Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def tell_error(message: ConsoleMessage) -> None:
    if message.type == "error":
        sys.stderr.write(f"{message.location['url']}: {message.text}\n")


def shoot(browser: Browser, url: str, folder: Path, size: str, theme: str, only: str) -> None:
    width, height = SIZES[size]
    options: dict[str, Any] = {"color_scheme": theme, "locale": "ru-RU"}
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    page = context.new_page()
    page.on("console", tell_error)
    log_in(page, url)
    for name, path, prepare in SCREENS:
        if only and name not in only.split(","):
            continue
        page.goto(url + path, wait_until="networkidle")
        if prepare:
            prepare(page)
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if overflow > 0:
            sys.stderr.write(f"{path} at {width} is {overflow} px too wide\n")
        page.screenshot(path=folder / f"{name}-{size}-{theme}.png", full_page=True)
    context.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--into", type=Path, default=settings.DATA_DIR / "screenshots")
    arguments.add_argument("--only", default="", help="names of screens, comma-separated")
    chosen = arguments.parse_args()
    chosen.into.mkdir(parents=True, exist_ok=True)
    migrate()
    stage.operator()
    stage.fill()
    url = serve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        for size in SIZES:
            for theme in THEMES:
                shoot(browser, url, chosen.into, size, theme, chosen.only)
        browser.close()
    sys.stdout.write(f"{len(list(chosen.into.glob('*.png')))} pictures in {chosen.into}\n")


if __name__ == "__main__":
    main()
