"""What becomes of a request for approval: it is carried out, outdated, refused, withdrawn or expires."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone
from waffle.models import Switch

from config.lib.messages import Message
from employees.models import University
from monitoring.rollout_control import controller
from profiles.rollout import changes
from profiles.rollout.models import Approval, Change, Flag, Plan, Rollout, UniversityRule
from profiles.rollout.phases import PHASES
from tests.rollout.approvals.surfaces import (
    NEEDED,
    api,
    asked,
    browser,
    by_api,
    by_screen,
    posted,
    ran,
    shown,
)
from tests.rollout.changing import change

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "_waits")]


def test_the_gates_judge_again(second: User, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = asked()
    monkeypatch.setattr(changes, "_gate_checks", [lambda *_: ([], Message("held"))])
    assert by_api(approval.pk, "second") == "held"
    assert Approval.objects.waiting().exists()


def test_the_world_moved(second: User) -> None:
    outdated = "The rollout has changed since the request was made, so the request no longer applies. Refuse it."
    approval = asked()
    with override_settings(ROLLOUT_APPROVALS=False):
        change("set", phase=3, percent=50)
    assert by_api(approval.pk, "second") == outdated
    assert Flag.objects.get(name=PHASES[2]).percent == 50
    change("set", phase=3, percent=1)
    change("pause", reason="holiday")
    assert by_api(approval.pk, "second") == "The rollout is paused (holiday): resume it first."


def test_an_advance_goes_where_it_was_asked_to(second: User) -> None:
    posted(api(), "advance")
    change("set", phase=3, percent=1)
    assert by_api(Approval.objects.get().pk, "second") == ""
    assert Flag.objects.get(name=PHASES[2]).percent == 25


@pytest.mark.parametrize("loss", ["is_active", "is_superuser", "deleted"])
def test_a_requester_who_was_demoted_gets_nothing(second: User, superadmin: User, loss: str) -> None:
    approval = asked()
    if loss == "deleted":
        superadmin.delete()
    else:
        User.objects.filter(pk=superadmin.pk).update(**{loss: False})
    assert by_api(approval.pk, "second") == "“root” no longer has permission to make this change."
    assert Flag.objects.get(name=PHASES[2]).percent == 5


def test_a_request_expires(second: User) -> None:
    approval = asked()
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert by_api(approval.pk, "second") == "This request is not waiting for approval."
    controller.run()
    approval.refresh_from_db()
    assert approval.state == "expired"


def test_a_request_is_refused_or_withdrawn(second: User) -> None:
    approval = asked()
    assert posted(api("second"), f"approvals/{approval.pk}/refuse", reason="not now") == ""
    approval.refresh_from_db()
    assert (approval.state, approval.decided_by, approval.decision_reason) == ("refused", "second", "not now")
    assert by_api(approval.pk, "second") == "This request is not waiting for approval."
    Approval.objects.all().delete()
    approval = asked()
    browser().post(f"/admin/approvals/{approval.pk}/", {"reason": "wrong", "verdict": "refuse"})
    approval.refresh_from_db()
    assert approval.state == "withdrawn"


def test_an_emergency_withdraws_requests(second: User) -> None:
    change("pause")
    posted(api(), "resume")
    change("emergency", by="second", reason="fire")
    approval = Approval.objects.get()
    assert (approval.state, approval.decided_by, approval.decision_reason) == ("withdrawn", "second", "fire")


def test_a_rule_is_approved(second: User, university: University) -> None:
    change("scope", rule=UniversityRule(university_id=university.pk, phase=3))
    ran("rollout", "university", "clear", f"--id={university.pk}", "--reason=r", "--by=root")
    assert by_screen(Approval.objects.get().pk, "second") == ""
    assert not UniversityRule.objects.exists()
    ran("rollout", "university", "allow", f"--id={university.pk}", "--reason=the pilot", "--by=root")
    assert by_screen(Approval.objects.waiting().get().pk, "second") == ""
    assert UniversityRule.objects.get().reason == "the pilot"


def test_a_switch_and_a_resume_are_approved(second: User) -> None:
    change("switch", switch="profile_cache", is_on=False)
    ran("rollout", "switch", "profile_cache", "on", "--reason=r", "--by=root")
    assert by_api(Approval.objects.get().pk, "second") == ""
    assert Switch.objects.get(name="profile_cache").active
    change("emergency")
    assert shown(browser(), "/admin/steer/resume/", {}).startswith(NEEDED)
    assert by_screen(Approval.objects.waiting().get().pk, "second") == ""
    assert not Switch.objects.get(name="emergency_stop").active


@pytest.mark.long
def test_pages_and_commands_show_who_waits(second: User) -> None:
    empty = browser().get("/admin/rollout/").content.decode()
    assert "No changes are waiting for approval." in empty
    approval = asked()
    home = browser("second").get("/admin/").content.decode()
    assert "1 change is waiting for approval by a second person." in home
    page = browser("second").get("/admin/rollout/").content.decode()
    assert f"/admin/approvals/{approval.pk}/" in page
    assert "the fair opens" in page
    review = browser("second").get(f"/admin/approvals/{approval.pk}/").content.decode()
    assert 'value="approve"' in review
    assert "/admin/steer/3/preview/?percent=25" in review
    own = browser().get(f"/admin/approvals/{approval.pk}/").content.decode()
    assert 'value="approve"' not in own
    assert "Withdraw" in own
    out = io.StringIO()
    call_command("rollout", "approvals", stdout=out)
    call_command("rollout", "status", stdout=out)
    assert "the fair opens" in out.getvalue()
    assert "1 change is waiting for approval by a second person" in out.getvalue()
    [listed] = api("second").get("/monitoring/rollout/approvals").json()
    assert (listed["id"], listed["by"], listed["reason"]) == (approval.pk, "root", "the fair opens")
    assert "5%" in listed["what"]
    assert "25%" in listed["what"]


def test_a_planned_step_waits_and_is_taken_when_approved(second: User) -> None:
    due = timezone.now()
    change("plan", phase=3, steps=[(25, due), (50, due + timedelta(hours=1))], by="root")
    controller.fire_due()
    first, later = Plan.objects.order_by("pk")
    assert (first.state, later.state) == ("waiting", "queued")
    controller.fire_due()
    assert Approval.objects.count() == 1
    assert by_api(Approval.objects.get().pk, "second") == ""
    first, later = Plan.objects.order_by("pk")
    assert (first.state, later.state, later.revision) == ("done", "planned", Rollout.current().revision)
    row = Change.objects.latest("pk")
    assert (row.action, row.by, row.approved_by) == ("schedule", "root", "second")


@pytest.mark.parametrize("end", ["refused", "expired"])
def test_a_planned_step_that_nobody_approves_ends_the_plan(second: User, end: str) -> None:
    due = timezone.now()
    change("plan", phase=3, steps=[(25, due), (50, due + timedelta(hours=1))], by="root")
    controller.fire_due()
    if end == "refused":
        posted(api("second"), f"approvals/{Approval.objects.get().pk}/refuse", reason="not now")
    else:
        Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        controller.run()
    assert set(Plan.objects.values_list("state", flat=True)) == {"dropped"}
    assert Flag.objects.get(name=PHASES[2]).percent == 5
