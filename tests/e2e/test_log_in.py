"""The log-in page and the pages of the second factor in a browser, in both themes, widths and languages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser
from pytest_django.fixtures import Settings

from employees.credentials import second_factor
from tests.e2e import sample_data
from tests.e2e.browser import log_in
from tests.e2e.conftest import WatchedPage
from tests.employees.credentials.factors import code, key_on

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


@pytest.fixture(params=["ru-RU", "en-GB"])
def visitor(request: Any, chromium: Browser, live_server: Any, settings: Settings, redis: Any) -> Iterator[WatchedPage]:
    """The page of somebody whose account needs a second factor and has none."""
    settings.ADMIN_MFA_REQUIRED, settings.OIDC_ISSUER, settings.OIDC_NAME = True, "https://sso.example.ru", "example.ru"
    sample_data.operator()
    context = chromium.new_context(locale=request.param)
    watched = WatchedPage(context.new_page(), live_server.url)
    yield watched
    context.close()
    assert watched.errors == []
    assert watched.foreign_requests == []


def check(watched: WatchedPage, name: str, folder: Path) -> None:
    for theme in ("light", "dark"):
        # Without loading the page again, which shows recovery codes once.
        watched.page.evaluate("is_dark => document.documentElement.classList.toggle('dark', is_dark)", theme == "dark")
        for width in (1400, 390):
            watched.page.set_viewport_size({"width": width, "height": 900})
            watched.page.wait_for_timeout(200)
            watched.page.screenshot(path=folder / f"{name}-{theme}-{width}.png")
            assert watched.faults() == [], (name, theme, width)
            assert watched.page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)


def test_it_works(visitor: WatchedPage, tmp_path: Path) -> None:
    page, url = visitor.page, visitor.url
    visitor.open("/admin/login/")
    check(visitor, "log-in", tmp_path)
    log_in(page, url, to="/admin/second-factor/set-up/?next=%2Fadmin%2F")
    check(visitor, "enrolment", tmp_path)
    secret = key_on(page.content())
    page.locator("input[name=code]").fill(code(secret))
    page.locator("input[name=code]").press("Enter")
    page.wait_for_url(f"{url}/admin/second-factor/recovery-codes/")
    check(visitor, "codes", tmp_path)
    recovery = page.locator("main li, #page li").first.inner_text()
    visitor.open("/admin/second-factor/")
    check(visitor, "state", tmp_path)
    page.locator("form[action='/admin/logout/'] button").click()
    log_in(page, url, to="/admin/login/code/")
    check(visitor, "code", tmp_path)
    page.locator("input[name=code]").fill("000000")
    page.locator("input[name=code]").press("Enter")
    page.locator("text=/неверен|wrong/").wait_for()
    page.locator("input[name=code]").fill(recovery)
    page.locator("input[name=code]").press("Enter")
    page.wait_for_url(f"{url}/admin/")
    assert second_factor.codes_left(User.objects.get()) == 9
