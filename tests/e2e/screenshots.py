"""Screenshots of each page, 1400 and 390 pixels wide, light and dark.

``make screenshots ARGS='--into DIR --only NAME --language en'``
"""

from tests.bench.rows import migrate  # sets Django up

# isort: split
import argparse
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.utils import timezone, translation
from django.utils.translation import get_language, gettext
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from config.lib.http import error_pages
from employees.models import BackfillRun, RunStatus
from profiles.rollout.heartbeat import HeartbeatThread
from profiles.rollout.models import Plan, Rollout
from profiles.rollout.rollout_settings import RolloutSettings
from tests.e2e import sample_data
from tests.e2e.browser import ARGUMENTS, EXECUTABLE, log_in
from tests.rollout.changing import change

Screens = list[tuple[str, str, Callable[[Page], object] | None]]


def look_up(page: Page, who: str) -> None:
    page.locator("input[name=who]").fill(who)
    page.locator("input[name=who]").press("Enter")
    page.wait_for_load_state("networkidle")


def show_error(page: Page, name: str, **context: int) -> None:
    """Render an error page as its view does: the error itself is hard to cause."""
    page.set_content(error_pages.page(name, **context))


def open_menu(page: Page) -> None:
    page.get_by_label(gettext("Show or hide the menu")).locator("visible=true").click()


def open_user_menu(page: Page) -> None:
    """Open the user's menu, which a narrow window does not show."""
    opener = page.locator("[x-on\\:click='openUserLinks = !openUserLinks']").first
    if opener.is_visible():
        opener.click()
        page.wait_for_timeout(300)


def preview_import(page: Page) -> None:
    rows = "".join(f"+7917{number:07d},Пётр,Сидоров{number},МГУ\n" for number in range(120))
    file = f"phone,first_name,last_name,university_name\n{rows}".encode()
    page.locator("input[type=file]").set_input_files({"name": "new.csv", "mimeType": "text/csv", "buffer": file})
    page.locator("select[name=format]").select_option("0")
    page.locator("form [type=submit]").last.click()
    page.wait_for_load_state("networkidle")


def add_plans(page: Page) -> None:
    for revision in (1, Rollout.current().revision):
        due_at = timezone.now() + timedelta(hours=revision)
        Plan.objects.create(
            phase=3, percent=50, due_at=due_at, revision=revision, by="m.orlova", reason="После зачисления"
        )
    page.reload(wait_until="networkidle")


def stop_everything(page: Page) -> None:
    page.locator("textarea[name=reason]").fill("Имена перепутаны")
    word = page.locator("input[name=word]")
    word.fill(word.get_attribute("data-word") or "")
    word.press("Enter")
    page.locator("[role=status] .s-badge").wait_for()


def hold(page: Page) -> None:
    change("pause", by="conductor", reason="Совпадение имён не больше 95,0 %")
    page.reload(wait_until="networkidle")


def start_backfill(page: Page) -> None:
    BackfillRun.objects.filter(status=RunStatus.PAUSED).update(status=RunStatus.DONE)
    page.goto(page.url.replace("backfillrun/", "backfillrun/add/"), wait_until="networkidle")
    page.locator("#preview .s-number").wait_for()


def log_out(page: Page) -> None:
    page.context.clear_cookies()
    page.reload(wait_until="networkidle")


def resume() -> None:
    change("resume", by="m.orlova", reason="Ошибка исправлена")
    for percent in (5, 25):
        change("set", phase=3, percent=percent, by="m.orlova", reason="Ошибка исправлена")


# The name, the path, and the steps before the screenshot.
SCREENS: Screens = [
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
    ("rule", "/admin/rollout/universityrule/add/", None),
    ("flag", "/admin/rollout/flag/3/change/", None),
    ("changes", "/admin/rollout/change/", None),
    ("change", "/admin/rollout/change/7/change/", None),
    ("gate-checks", "/admin/monitoring/gatecheck/", None),
    ("person", "/admin/person/", lambda page: look_up(page, sample_data.KNOWN_PHONE)),
    ("person-without-profile", "/admin/person/", lambda page: look_up(page, sample_data.WITHOUT_PROFILE)),
    ("person-of-nobody", "/admin/person/", lambda page: look_up(page, "никто")),
    ("employees", "/admin/employees/employee/", None),
    ("employee", "/admin/employees/employee/1/change/", None),
    ("history", "/admin/employees/employee/1/history/", None),
    ("found", "/admin/employees/employee/?q=иванова", None),
    ("filters", "/admin/employees/employee/", lambda page: page.get_by_text(gettext("Filters")).first.click()),
    ("unresolved", "/admin/employees/unresolvedname/", None),
    ("import", "/admin/employees/employee/import/", None),
    ("import-preview", "/admin/employees/employee/import/", preview_import),
    ("export", "/admin/employees/employee/export/", None),
    ("universities", "/admin/employees/university/", None),
    ("backfills", "/admin/employees/backfillrun/", None),
    ("backfill", "/admin/employees/backfillrun/2/change/", None),
    ("undo", "/admin/employees/backfillrun/2/do/undo/", None),
    ("inbox", "/admin/webhooks/inboxupdate/", None),
    ("update", "/admin/webhooks/inboxupdate/1/change/", None),
    ("dead-letters", "/admin/webhooks/inboxupdate/dead-letters/", None),
    ("replay", "/admin/webhooks/inboxupdate/replay/?state__exact=dead", None),
    ("body", "/admin/webhooks/inboxupdate/1/raw-body/", None),
    ("alerts", "/admin/monitoring/alert/", None),
    ("alert", "/admin/monitoring/alert/5/change/", None),
    ("mute", "/admin/monitoring/alert/5/answer/mute/", None),
    ("audit", "/admin/audit/", None),
    ("users", "/admin/auth/user/", None),
    ("groups", "/admin/auth/group/", None),
    ("group", "/admin/auth/group/2/change/", None),
    ("switches", "/admin/waffle/switch/", None),
    ("switch", "/admin/waffle/switch/1/change/", None),
    ("user-menu", "/admin/cache/", open_user_menu),
    ("profiles", "/admin/profiles/profile/", None),
    ("profile", f"/admin/profiles/profile/{sample_data.KNOWN_ID}/change/", None),
    ("erase", f"/admin/profiles/profile/{sample_data.KNOWN_ID}/delete/", None),
    (
        "menu",
        "/admin/",
        open_menu,
    ),
    ("error-400", "/admin/employees/employee/?q=%00", None),
    ("error-404", "/admin/", lambda page: show_error(page, "404.html")),
    ("error-403", "/admin/", lambda page: show_error(page, "403.html")),
    ("error-csrf", "/admin/", lambda page: show_error(page, "403_csrf.html")),
    ("error-413", "/admin/", lambda page: show_error(page, "413.html")),
    ("error-429", "/admin/", lambda page: show_error(page, "429.html", minutes=15)),
    ("error-500", "/admin/", lambda page: show_error(page, "500.html")),
]
# They move the rollout or log out, so they come last, and the rollout is restored after each round.
LAST: Screens = [
    ("backfill-start", "/admin/employees/backfillrun/", start_backfill),
    ("held", "/admin/rollout/", hold),
    ("held-home", "/admin/", None),
    ("held-step", "/admin/steer/3/?percent=50", None),
    ("void", "/admin/rollout/", add_plans),
    ("stopped", "/admin/emergency/", stop_everything),
    ("latched", "/admin/rollout/", None),
    ("resume", "/admin/steer/resume/", None),
    ("log-in", "/admin/", log_out),
]
SIZES = {"wide": (1400, 900), "narrow": (390, 844)}
THEMES = ("light", "dark")


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Log no requests."""


def serve() -> str:
    for kind in ("web", "inbox"):
        HeartbeatThread().start(kind)
    server = make_server("127.0.0.1", 0, get_wsgi_application(), ThreadedWSGIServer, _QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def print_error(message: ConsoleMessage) -> None:
    if message.type == "error":
        sys.stderr.write(f"{message.location['url']}: {message.text}\n")


def shoot(browser: Browser, url: str, folder: Path, size: str, theme: str, only: str, screens: Screens) -> None:
    width, height = SIZES[size]
    options: dict[str, Any] = {"color_scheme": theme, "locale": get_language()}
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    page = context.new_page()
    page.on("console", print_error)
    log_in(page, url)
    for name, path, prepare in screens:
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
    arguments.add_argument("--language", default="ru", choices=("ru", "en"))
    arguments.add_argument("--for-documents", action="store_true", help="without hostile texts, for docs/screens")
    options = arguments.parse_args()
    translation.activate(options.language)
    options.into.mkdir(parents=True, exist_ok=True)
    migrate()
    sample_data.operator()
    sample_data.fill(has_hostile_texts=not options.for_documents)
    url = serve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        for size, theme in product(SIZES, THEMES):
            shoot(browser, url, options.into, size, theme, options.only, SCREENS)
        for size, theme in product(SIZES, THEMES):
            shoot(browser, url, options.into, size, theme, options.only, LAST)
            if RolloutSettings.read(Rollout.current()).is_latched:
                resume()
        browser.close()
    sys.stdout.write(f"{len(list(options.into.glob('*.png')))} pictures in {options.into}\n")


if __name__ == "__main__":
    main()
