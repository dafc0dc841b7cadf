"""Every page of the admin in a browser, at two widths, light and dark: axe finds nothing, and nothing is too wide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from employees.models import BackfillRun, RunStatus
from tests.config.admin_pages import make_rows, paths
from tests.e2e import sample_data
from tests.e2e.conftest import WatchedPage
from tests.rollout.changing import change

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(3000)]

CLERKS = Path(__file__).parents[1] / "employees" / "clerks" / "cases"
ABOUT_THE_ROLLOUT = (
    "", "rollout/", "steer/3/?percent=50", "steer/resume/", "employees/backfillrun/add/", "emergency/",
)  # fmt: skip
HELD = "Совпадение имён не больше 95,0 %, противоречий не меньше 2,1 % (n = 1 204)"


def pages(watched: WatchedPage) -> Iterator[str]:
    """Open each page and yield its name: by its address, with what is entered, and in each state of the rollout."""
    BackfillRun.objects.update(status=RunStatus.DONE)
    rows = make_rows(User.objects.get(username="operator"))
    page = watched.page
    # The system's own pages first, then those that every table has.
    own = sorted(paths(rows, most=1), key=lambda path: path.endswith(("/add/", "/delete/", "/history/")))
    for path in dict.fromkeys(sorted(own, key=lambda path: path.count("/") > 3)):
        answer = page.context.request.get(watched.url + path)
        # Others are parts of a page, files, and pages that nobody may open.
        if answer.ok and "<html" in answer.text():
            watched.open(path)
            yield path.removeprefix("/admin/") or "home"
    for name in ("cp1251-headings", "many-errors", "whole-names"):
        watched.open("/admin/employees/employee/import/")
        page.locator("input[type=file]").set_input_files(CLERKS / f"{name}.csv")
        page.locator("form [type=submit]").last.click()
        page.wait_for_load_state("networkidle")
        yield f"import {name}"
    for who in (sample_data.KNOWN_PHONE, sample_data.HOSTILE_ID, "никто"):
        watched.open("/admin/person/")
        page.locator("input[name=who]").fill(who)
        page.locator("input[name=who]").press("Enter")
        page.wait_for_load_state("networkidle")
        yield f"person {who}"
        if who == sample_data.KNOWN_PHONE:
            page.locator("#export-page").click()
            page.wait_for_load_state("networkidle")
            yield "person export"
    for state in ("pause", "emergency"):
        change(state, by="conductor", reason=HELD)
        for path in ABOUT_THE_ROLLOUT:
            watched.open(f"/admin/{path}")
            yield f"{state} {path}"


def test_it_works(watched: WatchedPage, tmp_path: Path) -> None:
    unfit = {}
    for number, name in enumerate(pages(watched)):
        picture = f"{number:03} {re.sub('[^0-9a-zA-Zа-я]+', '-', name)[:60]}"
        if found := watched.unfit(tmp_path / picture):
            unfit[name] = found
            print(name, found, flush=True)  # noqa: T201 (it takes half an hour)
    assert unfit == {}
