"""An operator's work in a browser: replays, imports and exports, erasures, backfills, alerts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Route

from employees.models import BackfillRun, Employee, RunStatus
from monitoring.alerts.models import Alert
from profiles.models import Profile
from tests.e2e import sample_data
from tests.e2e.conftest import WatchedPage
from tests.rollout.changing import change
from webhooks.models import InboxUpdate, PayloadAccess, Replay, State

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

# A moment, and the name of its zone as the group.
TIMES = r"\d{1,2} \S+ \d{4}.{2}\d\d:\d\d(?::\d\d)? (\S+)"
LISTS = [
    "/admin/employees/employee/",
    "/admin/employees/university/",
    "/admin/employees/backfillrun/",
    "/admin/webhooks/inboxupdate/",
    "/admin/webhooks/inboxupdate/dead-letters/",
    "/admin/monitoring/alert/",
    "/admin/audit/",
]


def test_it_works(watched: WatchedPage) -> None:
    """Each page in two widths has no error, no serious accessibility fault, and fits the window."""
    employee, update = Employee.objects.order_by("pk")[0], InboxUpdate.objects.filter(state=State.DEAD)[0]
    own = [
        f"/admin/employees/employee/{employee.pk}/history/",
        f"/admin/employees/employee/{employee.pk}/change/",
        "/admin/employees/employee/export/",
        f"/admin/profiles/profile/{sample_data.KNOWN_ID}/delete/",
        f"/admin/employees/backfillrun/{sample_data.paused_run().pk}/change/",
        f"/admin/webhooks/inboxupdate/{update.pk}/change/",
        f"/admin/webhooks/inboxupdate/{update.pk}/raw-body/",
        f"/admin/monitoring/alert/{Alert.objects.all()[0].pk}/change/",
    ]
    faults = {}
    for width in (1400, 390):
        watched.page.set_viewport_size({"width": width, "height": 900})
        for path in [*LISTS, *own]:
            watched.open(path)
            if page_faults := watched.faults():
                faults[path, width] = page_faults
            assert watched.page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
    assert faults == {}


def test_a_group_of_dead_letters_is_replayed_by_keyboard(watched: WatchedPage) -> None:
    count = InboxUpdate.objects.filter(state=State.DEAD, update_type="message_callback").count()
    page = watched.open("/admin/webhooks/inboxupdate/dead-letters/")
    page.locator("article", has_text="message_callback").locator("a.s-button-primary").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("input[name=reason]")
    page.locator("input[name=reason]").focus()
    page.keyboard.type("Ошибка исправлена")
    page.keyboard.press("Enter")
    page.wait_for_url("**/webhooks/replay/*/change/")
    replay = Replay.objects.order_by("-pk")[0]
    assert (replay.by, replay.reason, replay.count) == ("operator", "Ошибка исправлена", count)
    assert not InboxUpdate.objects.filter(state=State.DEAD, update_type="message_callback").exists()


def test_a_body_is_text_and_its_view_is_recorded(watched: WatchedPage) -> None:
    update = InboxUpdate.objects.filter(state=State.DEAD)[0]
    InboxUpdate.objects.filter(pk=update.pk).update(body=sample_data.IMAGE.encode())
    page = watched.open(f"/admin/webhooks/inboxupdate/{update.pk}/raw-body/")
    page.locator("input[name=reason]").fill("Жалоба")
    page.locator("input[name=reason]").press("Enter")
    page.wait_for_selector(".s-pre")
    assert page.locator(".s-pre").inner_text() == sample_data.IMAGE
    assert PayloadAccess.objects.get(by="operator").reason == "Жалоба"


def test_a_file_is_imported_after_a_preview(watched: WatchedPage, tmp_path: Path) -> None:
    file = tmp_path / "сотрудники.csv"
    file.write_text(
        f"phone,last_name,first_name,university_name\n8 999 123-45-67,{sample_data.SCRIPT},Пётр,Новый вуз\n"
    )
    page = watched.open("/admin/employees/employee/import/")
    page.locator("input[type=file]").set_input_files(file)
    page.locator("form input[type=submit], form button[type=submit]").last.click()
    page.wait_for_selector("text=+79991234567")
    assert not Employee.objects.filter(phone="+79991234567").exists()
    page.locator("form input[type=submit], form button[type=submit]").last.click()
    page.wait_for_url("**/employees/employee/")
    assert Employee.objects.get(phone="+79991234567").last_name == sample_data.SCRIPT


def test_the_employees_are_exported(watched: WatchedPage) -> None:
    page = watched.open("/admin/employees/employee/export/")
    page.locator("select[name=format]").select_option("0")
    with page.expect_download() as download:
        page.locator("form button[type=submit]").last.click()
    file = download.value.path().read_text()
    assert sample_data.KNOWN_PHONE in file
    assert len(file.splitlines()) == 1 + Employee.objects.count()


def test_a_person_is_erased_from_the_person_page(watched: WatchedPage) -> None:
    page = watched.open("/admin/person/")
    page.locator("input[name=who]").fill(sample_data.KNOWN_PHONE)
    page.locator("input[name=who]").press("Enter")
    page.locator("a.s-button-danger").click()
    page.locator("[name=reason]").fill("has asked for it")
    page.locator("form .s-button-danger").click()
    page.wait_for_url("**/profiles/profile/")
    assert Employee.objects.get(phone=sample_data.KNOWN_PHONE).last_name != "Кузнецова"
    assert not Profile.objects.filter(user_id=sample_data.KNOWN_ID).exists()


def test_an_employee_is_found_in_any_case(watched: WatchedPage) -> None:
    page = watched.open("/admin/employees/employee/?q=КУЗНЕЦОВА")
    assert "Кузнецова" in page.locator("#result_list").inner_text()


def test_the_progress_of_a_run_is_live(watched: WatchedPage) -> None:
    run = sample_data.paused_run()
    page = watched.open(f"/admin/employees/backfillrun/{run.pk}/change/")
    page.locator("a.s-button", has_text="Продолжить").click()
    page.locator("input[name=reason]").fill("Ночь")
    page.locator("input[name=reason]").press("Enter")
    page.wait_for_selector("#backfill-progress[hx-trigger]")
    BackfillRun.objects.filter(pk=run.pk).update(rows_seen=2999, status=RunStatus.PAUSED)
    page.wait_for_selector("text=2999", timeout=9000)
    assert page.locator("#backfill-progress[hx-trigger]").count() == 0


def test_an_alert_is_muted(watched: WatchedPage) -> None:
    alert = Alert.objects.all()[0]
    page = watched.open(f"/admin/monitoring/alert/{alert.pk}/answer/mute/")
    page.locator("input[name=reason]").fill("Знаем")
    page.locator("input[name=reason]").press("Enter")
    page.wait_for_url(f"**/{alert.pk}/change/")
    alert.refresh_from_db()
    assert alert.is_muted


def test_a_backfill_is_previewed_and_started(watched: WatchedPage) -> None:
    BackfillRun.objects.update(status=RunStatus.DONE)
    page = watched.open("/admin/employees/backfillrun/add/")
    page.wait_for_selector("#preview .s-number")
    assert watched.faults() == []
    # The choice changes the preview, whose choices the form sends along.
    page.locator("#id_replaces_names").evaluate("(box) => box.click()")
    page.wait_for_selector("input[name=previewed][value=':True']", state="attached")
    page.locator("input[name=reason]").fill("Новые сотрудники")
    page.locator("#confirm").click()
    page.wait_for_selector("#backfill-progress")
    run = BackfillRun.objects.order_by("-pk")[0]
    assert (run.reason, run.started_by, run.replaces_names) == ("Новые сотрудники", "operator", True)


def test_a_held_rollout_leads_to_its_next_actions(watched: WatchedPage) -> None:
    change("pause", reason="Совпадение имён не больше 95,0 %")
    for width in (1400, 390):
        watched.page.set_viewport_size({"width": width, "height": 900})
        page = watched.open("/admin/rollout/")
        assert watched.faults() == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#held-conflicts").click()
    page.wait_for_url("**/comparisons/?days=counted*")
    assert page.locator("form[action*='/person/'] button").count() > 0
    watched.open("/admin/rollout/").locator("#held-named").click()
    page.wait_for_url("**/employees/employee/?*")
    watched.open("/admin/rollout/").locator("#held-back").click()
    page.wait_for_selector("#preview .s-number")
    page.locator("textarea[name=reason]").fill("Меньше людей")
    page.locator("#confirm").click()
    page.wait_for_url("**/rollout/")
    page.locator("#held-resume").click()
    page.locator("textarea[name=reason]").fill("Исправлено")
    page.locator("#confirm").click()
    page.wait_for_url("**/rollout/")
    assert page.locator("#held-resume").count() == 0
    assert "больше не учитываются" in page.locator("body").inner_text()


@pytest.mark.parametrize(("zone", "shown"), [("Europe/Moscow", "МСК"), ("Asia/Vladivostok", "GMT+10"), ("UTC", "UTC")])
def test_times_are_those_of_the_reader(watched: WatchedPage, zone: str, shown: str) -> None:
    context = watched.page.context
    browser = context.browser
    assert browser
    own = browser.new_context(locale="ru-RU", timezone_id=zone, storage_state=context.storage_state())
    page = own.new_page()
    page.goto(f"{watched.url}/admin/webhooks/inboxupdate/", wait_until="networkidle")
    moment = page.locator("td time").first
    assert moment.inner_text().endswith(shown)
    assert str(moment.get_attribute("title")).endswith("UTC")
    assert ("МСК" in str(moment.get_attribute("title"))) == (zone != "Europe/Moscow")
    # The histogram's title and the rows: one format, one zone.
    times = re.findall(TIMES, page.locator("body").inner_text())
    assert set(times) == {shown}
    assert len(times) > 2
    assert "(МСК)" in page.locator("#changelist-filter").inner_text()
    page.goto(f"{watched.url}/admin/rollout/", wait_until="networkidle")
    assert set(re.findall(TIMES, page.locator("body").inner_text())) <= {shown}
    own.close()


def test_a_zone_whose_name_is_a_number_is_found_too(watched: WatchedPage) -> None:
    """As -03 of America/Sao_Paulo: a hyphen must not be escaped in a regular expression of Unicode."""
    context = watched.page.context
    browser = context.browser
    assert browser
    own = browser.new_context(locale="ru-RU", timezone_id="Asia/Vladivostok", storage_state=context.storage_state())
    page = own.new_page()
    path = f"{watched.url}/admin/webhooks/inboxupdate/"

    def rename(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("МСК", "-03").replace("\\u041c\\u0421\\u041a", "-03"))

    page.route(path, rename)
    page.goto(path, wait_until="networkidle")
    assert page.locator("td time").first.inner_text().endswith("GMT+10")
    own.close()
