"""The dashboard in a browser: errors, accessibility, live updates, and work by keyboard."""

from __future__ import annotations

import re

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import Browser

from profiles.rollout.models import Change, Flag
from profiles.rollout.phases import PHASES
from tests.e2e import sample_data
from tests.e2e.browser import log_in
from tests.e2e.conftest import WatchedPage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

PATHS = [
    "/admin/",
    "/admin/rollout/",
    "/admin/steer/3/?percent=50",
    "/admin/steer/pause/",
    "/admin/steer/plan/",
    "/admin/steer/on-breach/",
    "/admin/steer/rehearsal/",
    "/admin/emergency/",
    "/admin/comparisons/",
    "/admin/checklist/",
    "/admin/sources/",
    "/admin/cache/",
    "/admin/person/",
]


def test_it_works(watched: WatchedPage) -> None:
    """Each page, in both themes and two widths, has no serious accessibility fault."""
    faults = {}
    for theme in ("light", "dark"):
        watched.page.emulate_media(color_scheme=theme)
        for width in (1400, 390):
            watched.page.set_viewport_size({"width": width, "height": 900})
            for path in PATHS:
                watched.open(path)
                if page_faults := watched.faults():
                    faults[path, theme, width] = page_faults
                assert watched.page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
    assert faults == {}


def test_axe_finds_a_fault(watched: WatchedPage) -> None:
    page = watched.open("/admin/person/")
    page.evaluate("document.querySelector('main, #content').insertAdjacentHTML('beforeend', '<button></button>')")
    assert len(watched.faults()) == 1


def test_a_refused_preview_cannot_be_confirmed(watched: WatchedPage) -> None:
    page = watched.open("/admin/steer/3/?percent=abc")
    page.locator("#preview [role=alert]").wait_for()
    assert not page.locator("#confirm").is_visible()
    page = watched.open("/admin/steer/3/?percent=50")
    page.locator("#confirm:enabled").wait_for()


@pytest.mark.parametrize("path", ["/admin/", "/admin/rollout/", "/admin/cache/"])
def test_a_page_without_an_answer_shows_its_age(watched: WatchedPage, path: str) -> None:
    page = watched.open(path)
    banner = page.locator("[data-stale]")
    assert not banner.is_visible()
    page.route("**/admin/live/**", lambda route: route.abort())
    banner.wait_for(timeout=9000)
    assert re.search(r"\d\d:\d\d:\d\d (UTC|GMT|МСК)", banner.inner_text())
    assert watched.faults() == []
    page.unroute("**/admin/live/**")
    banner.wait_for(state="hidden", timeout=9000)
    # Errors of htmx and the browser about the aborted requests.
    watched.errors.clear()


@pytest.mark.parametrize("path", ["/admin/", "/admin/rollout/", "/admin/cache/"])
def test_a_page_shows_that_its_user_is_logged_out(watched: WatchedPage, path: str) -> None:
    page = watched.open(path)
    banner = page.locator("[data-logged-out]")
    assert not banner.is_visible()
    Session.objects.all().delete()
    banner.wait_for(timeout=9000)
    assert not page.locator("[data-stale]").is_visible(), "the system does answer"
    assert re.search(r"\d\d:\d\d:\d\d (UTC|GMT|МСК)", banner.inner_text())
    assert watched.faults() == []
    banner.locator("a").click()
    page.wait_for_url(f"**/admin/login/?next={path}")


def test_a_page_that_waits_for_an_answer_shows_its_age(watched: WatchedPage) -> None:
    watched.page.clock.install()
    page = watched.open("/admin/")
    page.route("**/admin/live/**", lambda route: None)
    page.clock.fast_forward(20_000)
    page.locator("[data-stale]").wait_for(timeout=3000)


def test_the_home_page_fits_and_stays_live(watched: WatchedPage) -> None:
    page = watched.open("/admin/")
    assert page.evaluate("document.documentElement.scrollHeight") <= 900
    canvas = page.evaluate_handle("document.querySelector('canvas[data-chart]')")
    Flag.objects.filter(name=PHASES[2]).update(percent=50)
    page.wait_for_function("document.querySelector('#home-phase-3 .s-big').textContent.includes('50')", timeout=9000)
    assert page.evaluate("(canvas) => canvas.isConnected", canvas), "a chart was thrown away"


def test_a_phase_is_advanced_by_keyboard(watched: WatchedPage) -> None:
    page = watched.open("/admin/rollout/")
    page.locator("#advance-3").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#preview .s-stats")
    assert page.locator("#preview tbody tr").count() >= 3
    page.locator("textarea[name=reason]").focus()
    page.keyboard.type("Совпадение имён высокое неделю")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]")
    assert Flag.objects.get(name=PHASES[2]).percent == 25, "the gates hold it"
    assert page.locator("textarea[name=reason]").input_value() == "Совпадение имён высокое неделю"
    page.wait_for_selector("#preview .s-stats")
    page.locator("input[name=force]").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/admin/rollout/$"))
    change = Change.objects.first()
    assert change is not None
    assert (Flag.objects.get(name=PHASES[2]).percent, change.reason, change.is_forced) == (
        50,
        "Совпадение имён высокое неделю",
        True,
    )
    assert change.by == "operator"


def test_a_change_by_somebody_else_is_noticed(watched: WatchedPage) -> None:
    page = watched.open("/admin/steer/3/?percent=5")
    page.wait_for_selector("#preview .s-stats")
    flag = Flag.objects.get(name=PHASES[3])
    flag.percent = 1
    flag.save()
    page.locator("textarea[name=reason]").fill("Обратно")
    page.locator("#confirm").click()
    page.wait_for_selector("[role=alert]")
    assert Flag.objects.get(name=PHASES[2]).percent == 25


def test_the_emergency_stop_is_typed_and_verified(watched: WatchedPage) -> None:
    page = watched.open("/admin/emergency/")
    page.locator("textarea[name=reason]").fill("Имена перепутаны")
    assert page.locator("#confirm").is_disabled()
    word = page.locator("input[name=word]").get_attribute("data-word") or ""
    page.locator("input[name=word]").fill(word.lower())
    page.locator("input[name=word]").press("Enter")
    page.wait_for_selector(".s-badge-good")
    assert "1" in page.locator(".s-list").inner_text()
    assert set(Flag.objects.filter(name__in=PHASES).values_list("percent", flat=True)) == {0}
    watched.open("/admin/")
    assert page.locator(".s-banner-bad:visible").count() == 1


@pytest.mark.parametrize(
    ("who", "names"),
    [
        (sample_data.KNOWN_PHONE, ("Мария", "Кузнецова")),
        (sample_data.HOSTILE_ID, (sample_data.SCRIPT, sample_data.IMAGE)),
    ],
)
def test_a_person_is_looked_up(watched: WatchedPage, who: str, names: tuple[str, str]) -> None:
    page = watched.open("/admin/person/")
    page.locator("input[name=who]").focus()
    page.keyboard.type(who)
    page.keyboard.press("Enter")
    page.wait_for_selector(".s-facts")
    facts = page.locator(".s-facts").inner_text()
    assert all(name in facts for name in names), "names are shown as text"
    assert who not in page.url


def test_nobody_is_found(watched: WatchedPage) -> None:
    page = watched.open("/admin/person/")
    page.locator("input[name=who]").fill("<b>никто</b>")
    page.locator("input[name=who]").press("Enter")
    page.wait_for_selector(".s-empty")


def test_swagger_works_under_the_policy(watched: WatchedPage) -> None:
    page = watched.open("/swagger")
    page.wait_for_selector(".opblock")


def test_the_emergency_stop_works_without_javascript(watched: WatchedPage, chromium: Browser) -> None:
    """The theme hides every page until its script runs."""
    with chromium.new_context(java_script_enabled=False, locale="ru-RU") as plain:
        page = plain.new_page()
        log_in(page, watched.url)
        assert page.locator(".s-noscript").is_visible()
        page.goto(f"{watched.url}/admin/emergency/")
        page.locator("textarea[name=reason]").fill("имена не те")
        page.locator("input[name=word]").fill("стоп")
        page.locator("input[name=word]").press("Enter")
        page.locator("text=Остановлено").first.wait_for()
    assert not Flag.objects.filter(percent__gt=0, name__in=PHASES).exists()


def test_the_user_menu_opens_by_keyboard(watched: WatchedPage) -> None:
    page = watched.open("/admin/cache/")
    # On a busy machine, the menu fades in for longer than its 150 ms.
    page.context.new_cdp_session(page).send("Animation.setPlaybackRate", {"playbackRate": 0.1})
    page.keyboard.press("Tab")
    assert page.locator(".s-skip").evaluate("link => link === document.activeElement")
    menu = page.locator("button.s-user").locator("visible=true")
    menu.focus()
    page.keyboard.press("Enter")
    assert menu.get_attribute("aria-expanded") == "true"
    page.get_by_text("Выйти").locator("visible=true").first.wait_for()
    assert watched.faults() == []
