"""A second person approves a step in the browser, and a plan of several steps is made and cancelled."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from profiles.rollout import changes
from profiles.rollout.approvals import ApprovalNeeded
from profiles.rollout.models import Approval, Flag, Plan
from profiles.rollout.phases import PHASES
from tests.e2e.conftest import WatchedPage
from tests.rollout.changing import request

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


@pytest.fixture
def waiting(watched: WatchedPage, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> WatchedPage:
    settings.ROLLOUT_APPROVALS = True
    monkeypatch.setattr(changes, "_gate_checks", [lambda *_: ([], None)])
    with pytest.raises(ApprovalNeeded):
        changes.apply(request("set", phase=3, percent=50, by="m.orlova", reason="После зачисления"))
    return watched


def test_a_second_person_approves(waiting: WatchedPage) -> None:
    page = waiting.open("/admin/")
    assert page.locator("#home-approvals").count() == 1
    assert waiting.unfit() == []
    waiting.open("/admin/rollout/")
    assert waiting.unfit() == []
    approval = Approval.objects.get()
    page.locator(f"#approval-{approval.pk}").click()
    page.wait_for_selector("#preview table, #preview .s-note")
    assert waiting.unfit() == []
    page.locator("textarea[name=reason]").fill("проверено")
    page.locator("#approve").click()
    page.wait_for_url("**/admin/rollout/")
    assert Flag.objects.get(name=PHASES[2]).percent == 50


def test_a_plan_is_made_and_cancelled(waiting: WatchedPage) -> None:
    page = waiting.open("/admin/steer/plan/")
    assert waiting.unfit() == []
    for number, suffix in enumerate(("", "_2"), 1):
        page.locator(f"[name=percent{suffix}]").fill(str(25 + 25 * number))
        due_at = timezone.localtime() + timedelta(hours=number)
        page.locator(f"[name=due_at{suffix}]").fill(f"{due_at:%Y-%m-%dT%H:%M}")
    page.locator("[name=waits_for_gates]").check()
    page.locator("[name=hours]").fill("9-18")
    page.locator("textarea[name=reason]").fill("после зачисления")
    page.locator("#confirm").click()
    page.wait_for_url("**/admin/rollout/")
    assert waiting.unfit() == []
    page.locator("form[action$='/cancel/'] button").click()
    page.wait_for_load_state("networkidle")
    assert set(Plan.objects.values_list("state", flat=True)) == {"dropped"}
