"""Plan steps, choose what a breach does and rehearse the rollback on the admin's pages."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone, translation

from config.lib import times
from employees.models import University
from monitoring.audit.audit_log import entries
from monitoring.dashboard.actions import ACTIONS
from monitoring.rollout_control import controller
from profiles.rollout.models import Change, OnBreach, Plan, PlanState, Rollout
from tests.conftest import Phases
from tests.monitoring.screens.test_change_phase import given
from tests.rollout.changing import change, plan_step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def in_hours(hours: int) -> str:
    return f"{timezone.localtime() + timedelta(hours=hours):%Y-%m-%dT%H:%M}"


def test_it_works(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    answer = operator.post("/admin/steer/plan/", given(phase="3", percent="50", due_at=in_hours(12)))
    assert answer["Location"] == "/admin/rollout/"
    plan = Plan.objects.get()
    assert (plan.phase, int(plan.percent), plan.by, plan.reason) == (3, 50, "root", "проверено")
    assert "проверено" in operator.get("/admin/rollout/").content.decode()


def test_it_offers_the_phase_whose_turn_it_is(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    assert re.search(r'<option value="3" selected', operator.get("/admin/steer/plan/").content.decode())


def test_a_planned_step_that_is_outdated_says_so(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    planned = plan_step(3, 50, timezone.now() + timedelta(hours=1), by="anna", reason="tonight")
    void = "The rollout has changed since the step was planned, so the step will be cancelled."
    assert void not in operator.get("/admin/rollout/").content.decode()
    change("set", phase=3, percent=5, by="boris", reason="too fast")
    assert void in operator.get("/admin/rollout/").content.decode()
    out = StringIO()
    call_command("rollout", "status", stdout=out)
    assert void in " ".join(out.getvalue().split())
    assert controller.fire(planned).startswith("Cancelled")


@pytest.mark.long
def test_a_planned_step_is_cancelled(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    plan = plan_step(3, 50, timezone.now() + timedelta(hours=1), by="anna", reason="tonight")
    cancel = f"/admin/steer/plan/{plan.pk}/cancel/"
    assert cancel in operator.get("/admin/rollout/").content.decode()
    assert operator.get(cancel)["Location"] == "/admin/rollout/", "a link cancels nothing"
    assert Plan.objects.get().state == PlanState.PLANNED
    assert "The plan is cancelled." in operator.post(cancel, follow=True).content.decode()
    plan.refresh_from_db()
    assert (plan.state, plan.text) == (PlanState.DROPPED, "Cancelled by root")
    count = Change.objects.count()
    assert "This step is no longer planned." in operator.post(cancel, follow=True).content.decode()
    assert Change.objects.count() == count


def test_a_step_that_is_planned_or_cancelled_is_in_the_audit_log(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    revision = Rollout.current().revision
    due_at = timezone.now().replace(minute=5) + timedelta(days=1)
    plan = plan_step(3, "50", due_at, by="anna", reason="tonight")
    other = plan_step(3, "50", due_at + timedelta(hours=1), by="anna", reason="tonight")
    operator.post(f"/admin/steer/plan/{plan.pk}/cancel/", {"reason": "too early"})
    operator.post(f"/admin/steer/plan/{other.pk}/cancel/")
    with translation.override("en"):
        recorded = [(entry.by, entry.what, entry.reason) for entry in entries(kind="rollout", limit=4)]
        at = times.text(due_at, has_seconds=False)
    assert recorded[0][::2] == ("root", "Cancelled without a reason")
    assert recorded[1] == ("root", f"Planned step cancelled: phase 3 to 50% on {at}", "too early")
    assert recorded[3] == ("anna", f"Step planned: phase 3 to 50% on {at}", "tonight")
    assert Rollout.current().revision == revision, "a step stays in force when another one is planned"
    out = StringIO()
    call_command("rollout", "history", stdout=out)
    assert "Planned step cancelled: phase 3" in " ".join(out.getvalue().split())
    page = operator.get(f"/admin/rollout/change/{Change.objects.latest('pk').pk}/change/").content.decode()
    assert "due_at" not in page


def test_a_step_is_not_cancelled_for_a_wrong_reason(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    plan = plan_step(3, 50, timezone.now() + timedelta(hours=1), by="anna", reason="tonight")
    page = operator.post(f"/admin/steer/plan/{plan.pk}/cancel/", {"reason": "x" * 501}, follow=True)
    assert "A reason must be text of at most 500 characters" in page.content.decode()
    assert Plan.objects.get().state == PlanState.PLANNED


def test_the_same_step_is_planned_once(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    form = given(phase="3", percent="50", due_at=in_hours(12))
    operator.post("/admin/steer/plan/", form)
    answer = operator.post("/admin/steer/plan/", form)
    assert "This step is already planned." in answer.content.decode()
    change("cancel", plan=Plan.objects.get().pk, by="root", reason="later")
    assert operator.post("/admin/steer/plan/", form).status_code == 302


def test_a_viewer_cancels_nothing(client: Client, phases: Phases) -> None:
    plan = plan_step(1, 100, timezone.now() + timedelta(hours=1), by="anna", reason="tonight")
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_rollout"))
    client.force_login(viewer)
    cancel = f"/admin/steer/plan/{plan.pk}/cancel/"
    assert cancel not in client.get("/admin/rollout/").content.decode()
    assert client.post(cancel).status_code == 403
    plan.refresh_from_db()
    assert plan.state == PlanState.PLANNED


def test_each_moment_of_a_plan_names_its_zone(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    operator.cookies["django_language"] = "en"
    form = operator.get("/admin/steer/plan/").content.decode()
    assert re.search(r"Date and time \(it is now \d\d:\d\d MSK\)", form)
    due_at = in_hours(12)
    page = operator.post("/admin/steer/plan/", given(phase="3", percent="50", due_at=due_at), follow=True)
    # In the message, in the list of steps and among the latest changes.
    assert page.content.decode().count(f"{due_at[-5:]} MSK") == 3


@pytest.mark.parametrize("wrong", [{"due_at": in_hours(-1)}, {"percent": "101"}, {"reason": " "}, {"phase": "7"}])
def test_it_refuses_a_wrong_plan(operator: Client, phases: Phases, wrong: dict[str, str]) -> None:
    phases(100, 100, 25)
    right = {"phase": "3", "percent": "50", "due_at": in_hours(12)}
    answer = operator.post("/admin/steer/plan/", given(**{**right, **wrong}))
    assert answer.status_code == 200
    assert b'role="alert"' in answer.content
    assert not Plan.objects.exists()


@pytest.mark.parametrize("due_at", ["9999-12-31T23:59", in_hours(367 * 24)], ids=["the last moment", "in 367 days"])
def test_it_refuses_a_plan_for_years_ahead(operator: Client, phases: Phases, due_at: str) -> None:
    phases(100, 100, 25)
    answer = operator.post("/admin/steer/plan/", given(phase="3", percent="50", due_at=due_at))
    assert "A step can be planned at most one year ahead." in answer.content.decode()
    assert not Plan.objects.exists()
    operator.post("/admin/steer/plan/", given(phase="3", percent="50", due_at=in_hours(365 * 24)))
    assert Plan.objects.exists()


def test_the_action_on_a_breach_is_chosen(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    operator.post("/admin/steer/on-breach/", given(on_breach="roll-back"))
    assert Rollout.current().on_breach == OnBreach.ROLL_BACK
    change = Change.objects.first()
    assert change is not None
    assert (change.action, change.reason) == ("on-breach", "проверено")


def test_the_rollback_is_rehearsed(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    university = University.objects.create(name="Вуз")
    operator.cookies["django_language"] = "ru"
    page = operator.post("/admin/steer/rehearsal/", given(university=str(university.pk)), follow=True)
    assert re.search(r"\d,\d с", page.content.decode())
    change = Change.objects.first()
    assert change is not None
    assert change.action == "rehearsal"


@pytest.mark.parametrize("name", ACTIONS)
def test_it_refuses_a_viewer(client: Client, phases: Phases, name: str) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_rollout"))
    client.force_login(viewer)
    before = Rollout.current().revision
    assert client.post(f"/admin/steer/{name}/", given()).status_code == 403
    assert Rollout.current().revision == before


def test_the_gates_show_value_operator_and_limit(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    content = operator.get("/admin/steer/3/preview/?percent=50", headers={"Accept-Language": "en"}).content.decode()
    assert "<td>≥</td>" in content
    assert "<td>659</td>" in content
