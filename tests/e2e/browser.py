"""Debian's chromium, with its background requests off."""

import shutil

from playwright.sync_api import Page

from tests.e2e.sample_data import PASSWORD

EXECUTABLE = shutil.which("chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def log_in(page: Page, url: str, to: str = "/admin/") -> None:
    page.goto(f"{url}/admin/login/?next=/admin/")
    page.locator("input[name=username]").fill("operator")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("input[name=password]").press("Enter")
    page.wait_for_url(f"{url}{to}")
