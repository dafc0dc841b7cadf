"""A step planned, a breach's consequence chosen and the way back rehearsed, by the admin's screens."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from employees.models import University
from monitoring.screens.deeds import DEEDS
from profiles.rollout.models import Change, OnBreach, Plan, Rollout
from tests.conftest import Phases
from tests.monitoring.screens.test_steering import given

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


@pytest.mark.parametrize("wrong", [{"due_at": in_hours(-1)}, {"percent": "101"}, {"reason": " "}, {"phase": "7"}])
def test_it_refuses_a_wrong_plan(operator: Client, phases: Phases, wrong: dict[str, str]) -> None:
    phases(100, 100, 25)
    right = {"phase": "3", "percent": "50", "due_at": in_hours(12)}
    answer = operator.post("/admin/steer/plan/", given(**{**right, **wrong}))
    assert answer.status_code == 200
    assert b'role="alert"' in answer.content
    assert not Plan.objects.exists()


@pytest.mark.parametrize("due_at", ["9999-12-31T23:59", in_hours(367 * 24)])
def test_it_refuses_a_plan_for_years_ahead(operator: Client, phases: Phases, due_at: str) -> None:
    phases(100, 100, 25)
    answer = operator.post("/admin/steer/plan/", given(phase="3", percent="50", due_at=due_at))
    assert "A step is planned for a year ahead at most" in answer.content.decode()
    assert not Plan.objects.exists()
    operator.post("/admin/steer/plan/", given(phase="3", percent="50", due_at=in_hours(365 * 24)))
    assert Plan.objects.exists()


def test_what_a_breach_does_is_chosen(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    operator.post("/admin/steer/on-breach/", given(on_breach="roll-back"))
    assert Rollout.current().on_breach == OnBreach.ROLL_BACK
    change = Change.objects.first()
    assert change is not None
    assert (change.action, change.reason) == ("on-breach", "проверено")


def test_the_way_back_is_rehearsed(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    university = University.objects.create(name="Вуз")
    operator.post("/admin/steer/rehearsal/", given(university=str(university.pk)))
    change = Change.objects.first()
    assert change is not None
    assert change.action == "rehearsal"


@pytest.mark.parametrize("name", DEEDS)
def test_it_refuses_who_only_looks(client: Client, phases: Phases, name: str) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_rollout"))
    client.force_login(viewer)
    before = Rollout.current().revision
    assert client.post(f"/admin/steer/{name}/", given()).status_code == 403
    assert Rollout.current().revision == before


def test_the_gates_tell_number_operator_and_limit(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    content = operator.get("/admin/steer/3/preview/?percent=50", headers={"Accept-Language": "en"}).content.decode()
    assert "<td>≥</td>" in content
    assert "<td>659</td>" in content
