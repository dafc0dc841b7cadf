"""An incident on a whole demo, walked in a browser: held, looked into, stopped, fixed, resumed, and brought to 100%.

Nothing is forced, and no clock is set: only the dwell time and the interval of the checks are shorter than in a demo.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser

from config.dev.demo.__main__ import SECRET
from config.dev.demo.people import Person, person
from config.dev.demo.story import OPERATOR
from config.dev.demo.updates import update_of
from config.dev.demo.users import password_of
from monitoring.stats.comparison_stats import SAMPLE_WANTED
from tests.demo.running import Running
from tests.e2e.conftest import WatchedPage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]

SETTINGS = {"ROLLOUT_DWELL": "5s", "MONITORING_CHECK_INTERVAL": "10s"}
RESUMED = "coalesce((SELECT max(at) FROM rollout_change WHERE action = 'resume'), 'epoch')"
COMPARED = f"SELECT count(*) FROM comparisons WHERE at > {RESUMED}"  # noqa: S608 (a constant)
CHECKS = f"SELECT verdict FROM monitoring_gatecheck WHERE gate = 'tripwire' AND at > {RESUMED} ORDER BY id"  # noqa: S608 (a constant)
# People that neither the demo's history nor its messenger hires.
FIRST_NEWCOMER = 500_000


class Clerks:
    """Create employees, who write to the bot first, faster than the demo's own service does."""

    def __init__(self, demo: Running) -> None:
        self.demo, self.numbers = demo, count(FIRST_NEWCOMER)
        self.universities = [row[0] for row in demo.rows("SELECT id FROM universities ORDER BY id")]
        answer = requests.post(
            f"{demo.url}/api/token", json={"username": "admin", "password": password_of("admin")}, timeout=20
        )
        self.headers = {"Authorization": f"Bearer {answer.json()['access']}"}

    def hire(self, who: Person) -> None:
        body = {"phone": who.phone, "university_id": self.universities[who.university], "max_id": who.user_id}
        answer = requests.post(f"{self.demo.url}/employees", json=body, headers=self.headers, timeout=30)
        assert answer.status_code == 201, answer.text

    def hire_some(self) -> None:
        newcomers = [who for who in (person(next(self.numbers)) for _ in range(40)) if who.writes]
        for who in newcomers:
            update = update_of(who, "bot_started", datetime.now(UTC), f"{who.number}")
            headers = {"X-Max-Bot-Api-Secret": SECRET}
            requests.post(f"{self.demo.url}/webhook/max", json=update, headers=headers, timeout=20)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(self.hire, newcomers))

    @contextmanager
    def at_work(self, wanted: int) -> Iterator[None]:
        """Hire until so many lookups have been compared since the last resume."""
        failures: list[Exception] = []
        is_over = threading.Event()

        def work() -> None:
            try:
                while not is_over.is_set() and self.demo.count(COMPARED) < wanted:
                    self.hire_some()
            except (requests.RequestException, AssertionError) as error:
                failures.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            is_over.set()
            worker.join()
        assert failures == []


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path, scene="incident", settings=SETTINGS)
    try:
        running.start()
        yield running
        running.stop()
        assert running.living() == []
    finally:
        running.kill()


@pytest.fixture
def operator(demo: Running, chromium: Browser) -> Iterator[WatchedPage]:
    context = chromium.new_context(locale="ru-RU", viewport={"width": 1400, "height": 900})
    watched = WatchedPage(context.new_page(), demo.url)
    page = watched.open("/admin/login/?next=/admin/")
    page.locator("input[name=username]").fill(OPERATOR)
    page.locator("input[name=password]").fill(password_of(OPERATOR))
    page.locator("input[name=password]").press("Enter")
    page.wait_for_url(f"{demo.url}/admin/")
    yield watched
    context.close()
    assert watched.errors == []
    assert watched.foreign_requests == []


def wait_until(is_so: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def percents(demo: Running) -> list[int]:
    query = "SELECT percent FROM rollout_flag WHERE name LIKE 'phase_\\_%' ORDER BY name"
    return [int(row[0]) for row in demo.rows(query)]


def confirm(operator: WatchedPage, reason: str) -> None:
    page = operator.page
    page.locator("textarea[name=reason]").fill(reason)
    page.locator("#confirm:enabled").click()
    page.wait_for_url("**/admin/rollout/")


def served(operator: WatchedPage) -> int:
    """Return how many employees still get their names from the cache, as the banner has it."""
    shown = operator.open("/admin/rollout/").locator("#rollout-state").inner_text()
    found = re.search(r"([\d\s]+) сотрудник\w* по-прежнему получа", shown)
    assert found, shown
    return int(re.sub(r"\s", "", found[1]))


def is_held_after_three_checks(demo: Running, operator: WatchedPage) -> None:
    page = operator.open("/admin/rollout/")
    assert page.locator("#held-resume").count() == 0
    # The page itself brings the banner.
    page.locator("#held-resume").wait_for(timeout=600_000)
    verdicts = [row[0] for row in demo.rows(CHECKS)]
    breaches = verdicts[verdicts.index("FAIL") :]
    assert breaches[:3] == ["FAIL"] * 3
    held = demo.rows("SELECT at FROM rollout_change WHERE action = 'pause' ORDER BY id DESC LIMIT 1")[0][0]
    judged = demo.count(
        f"SELECT count(*) FROM monitoring_gatecheck WHERE verdict = 'FAIL' AND gate = 'tripwire' AND at <= '{held}'"  # noqa: S608 (ours)
        f" AND at > {RESUMED}"
    )
    assert judged == 3, "held by a later check than the third"


def each_action_of_the_banner_works(demo: Running, operator: WatchedPage) -> None:
    page = operator.page
    assert served(operator) > 0
    assert operator.faults() == []
    page.locator("#held-conflicts").click()
    page.wait_for_url("**/comparisons/?days=counted&outcome=conflict")
    assert page.locator("form[action*='/person/'] button").count() > 0
    operator.open("/admin/rollout/").locator("#held-named").click()
    page.wait_for_url("**/employees/employee/?*")
    assert page.locator("#result_list tbody tr").count() > 0
    # A step is refused, but what it would do and its gates are still shown.
    operator.open("/admin/steer/3/?percent=50").locator("#preview .s-number").first.wait_for()
    assert page.locator("#preview [data-refused]").count() == 1
    assert page.locator("#preview .s-table").count() > 0
    assert not page.locator("#confirm").is_visible()
    before = served(operator)
    page.locator("#held-back").click()
    page.locator("#preview .s-number").first.wait_for()
    confirm(operator, "Меньше людей, пока ищем причину")
    assert percents(demo) == [100, 100, 5, 0]
    assert page.locator("#held-resume").count() == 1, "a step down ends no hold"
    assert served(operator) < before
    page.locator("#held-resume").click()
    page.wait_for_url("**/steer/resume/")
    assert page.locator("#confirm").is_enabled()


def everything_is_stopped(demo: Running, operator: WatchedPage) -> None:
    page = operator.open("/admin/rollout/")
    page.locator("#act-stop").click()
    page.locator("textarea[name=reason]").fill("Чужие фамилии в обновлениях")
    word = page.locator("input[name=word]")
    word.fill(word.get_attribute("data-word") or "")
    word.press("Enter")
    page.locator("[role=status] .s-badge-good").wait_for(timeout=60_000)
    assert percents(demo) == [0, 0, 0, 0]
    page.locator("#named").click()
    page.wait_for_url("**/employees/employee/?*")
    assert page.locator("#result_list tbody tr").count() > 0
    assert served(operator) == 0


def the_cause_is_fixed(demo: Running, operator: WatchedPage) -> None:
    messenger = operator.page.context.new_page()
    messenger.goto(demo.messenger)
    messenger.get_by_text("верные · right").click()
    messenger.wait_for_load_state()
    assert messenger.get_by_text("верные · right").get_attribute("aria-pressed") == "true"
    messenger.close()


def it_is_resumed(demo: Running, operator: WatchedPage) -> None:
    operator.open("/admin/rollout/").locator("#held-resume").click()
    confirm(operator, "Мессенджер снова присылает верные фамилии")
    assert percents(demo) == [100, 100, 1, 0]
    assert "больше не учитываются" in operator.page.locator("body").inner_text()
    assert operator.page.locator("#held-resume").count() == 0


def climb(demo: Running, operator: WatchedPage, phase: int) -> None:
    """Take each step as soon as its gates pass, which is when its button is blue."""
    page, taken = operator.page, []
    while (percent := percents(demo)[phase - 1]) < 100:
        operator.open("/admin/rollout/").locator(f"#advance-{phase}.s-button-primary").click(timeout=600_000)
        page.locator("#confirm:enabled").wait_for(timeout=60_000)
        if page.locator("#preview [data-held]").count():
            # Judged once more by the preview, a gate did not pass.
            continue
        confirm(operator, "Все условия выполнены")
        assert percents(demo)[phase - 1] > percent, page.locator("body").inner_text()
        taken.append(percents(demo)[phase - 1])
    assert taken == ([5, 25, 50, 75, 100] if phase == 3 else [1, 5, 25, 50, 75, 100])


def test_it_works(demo: Running, operator: WatchedPage) -> None:
    is_held_after_three_checks(demo, operator)
    each_action_of_the_banner_works(demo, operator)
    everything_is_stopped(demo, operator)
    the_cause_is_fixed(demo, operator)
    it_is_resumed(demo, operator)
    # With no conflict, 659 comparisons would do; a few of the demo's people are spelled differently.
    with Clerks(demo).at_work(SAMPLE_WANTED + 150):
        climb(demo, operator, 3)
    climb(demo, operator, 4)
    assert percents(demo) == [100, 100, 100, 100]
    checks = len(demo.rows(CHECKS))
    wait_until(lambda: len(demo.rows(CHECKS)) >= checks + 3, 300, "the controller checks no more")
    assert len(demo.rows(CHECKS)) >= 10
    assert demo.count(f"SELECT count(*) FROM rollout_change WHERE action = 'pause' AND at > {RESUMED}") == 0  # noqa: S608 (a constant)
    assert demo.count("SELECT count(*) FROM rollout_change WHERE is_forced") == 0
    assert operator.open("/admin/rollout/").locator("#held-resume").count() == 0
