"""Another person who may make the change approves it; nobody approves their own request."""

from __future__ import annotations

from itertools import product

import pytest
from django.contrib.auth.models import Permission, User

from employees.credentials.models import LogIn
from employees.models import Membership, University
from monitoring.rollout_control import approvals
from monitoring.rollout_control.approvals import Decider
from profiles.rollout import changes
from profiles.rollout.approvals import ApprovalNeeded
from profiles.rollout.models import Approval, Change, Flag, UniversityRule
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import ChangeRefused
from tests.rollout.approvals.surfaces import (
    NEEDED,
    OWN,
    api,
    asked,
    browser,
    by_api,
    by_command,
    by_key,
    by_screen,
    key_of,
    posted,
)
from tests.rollout.changing import request

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "_waits")]


APPROVING = {"screen": by_screen, "command": by_command, "API": by_api, "API key": by_key}


def test_two_tokens_are_not_two_people(second: User) -> None:
    """Neither another log-in of the requester nor a key of theirs approves; the log-in of somebody else does."""
    first, again, other = api(), api(), api("second")
    assert LogIn.objects.filter(user__username="root").count() == 2
    assert posted(first, "set", phase=3, percent=25) == NEEDED
    approve = f"approvals/{Approval.objects.get().pk}/approve"
    for own in (first, again, key_of(User.objects.get(username="root"))):
        assert posted(own, approve) == OWN
    assert Flag.objects.get(name=PHASES[2]).percent == 5
    assert posted(other, approve) == ""
    assert Flag.objects.get(name=PHASES[2]).percent == 25


@pytest.mark.long
@pytest.mark.parametrize("surface", APPROVING)
def test_a_second_person_approves(second: User, surface: str) -> None:
    approval = asked()
    assert APPROVING[surface](approval.pk, "second") == ""
    row = Change.objects.latest("pk")
    assert (row.by, row.reason, row.approval_reason) == ("root", "the fair opens", "checked")
    assert row.approved_by.startswith("second")
    assert row.after["percents"][PHASES[2]] == "25"
    approval.refresh_from_db()
    assert approval.state == "approved"
    assert APPROVING[surface](approval.pk, "second") == "This request is not waiting for approval."


@pytest.mark.long
@pytest.mark.parametrize("surface", APPROVING)
def test_nobody_approves_their_own_request(surface: str) -> None:
    approval = asked()
    assert APPROVING[surface](approval.pk, "root") == OWN
    key = key_of(User.objects.get(username="root")) if surface != "API key" else None
    if key:
        Approval.objects.all().delete()
        posted(key, "set", phase=3, percent=25)
        assert APPROVING[surface](Approval.objects.get().pk, "root") == OWN
    assert Flag.objects.get(name=PHASES[2]).percent == 5


def test_who_may_not_make_the_change_may_not_approve_it(second: User) -> None:
    approval = asked()
    viewer = User.objects.create_user("viewer", password="viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_rollout"))
    assert (
        by_command(approval.pk, "viewer")
        == "Only somebody who has permission to make this change can approve or refuse it."
    )
    assert browser("viewer").post(f"/admin/approvals/{approval.pk}/", {"verdict": "approve"}).status_code == 403
    assert api("viewer").post(f"/monitoring/rollout/approvals/{approval.pk}/approve").status_code == 403
    approval.is_forced = True
    approval.save()
    manager = User.objects.create_user("manager", is_staff=True)
    manager.user_permissions.add(Permission.objects.get(codename="operate_rollout"))
    assert (
        by_api(approval.pk, "manager")
        == "Only somebody who has permission to make this change can approve or refuse it."
    )


def test_a_wrong_password_approves_nothing(second: User) -> None:
    approval = asked()
    User.objects.filter(username="second").update(password="!")
    assert by_command(approval.pk, "second").startswith("Wrong password of second")
    assert Approval.objects.waiting().exists()


def test_the_function_itself_refuses_the_requester(superadmin: User) -> None:
    approval = asked()
    with pytest.raises(ChangeRefused, match="own request"):
        approvals.approve(approval.pk, Decider.of(superadmin), "r")
    with pytest.raises(ApprovalNeeded):
        changes.apply(request("set", phase=3, percent=25))


@pytest.mark.long
def test_requests_of_another_university_do_not_exist_for_who_is_limited(university: University) -> None:
    """Neither their number nor a decision shows that there is one."""
    for one in (university, University.objects.create(name="Другой")):
        with pytest.raises(ApprovalNeeded):
            changes.apply(
                request("scope", rule=UniversityRule(university_id=one.pk, phase=3, is_allowed=True), by="root")
            )
    own, foreign = Approval.objects.order_by("pk")
    limited = User.objects.create_user("limited", is_staff=True)
    names = ("view_rollout", "view_screens", "operate_rollout", "change_scope")
    limited.user_permissions.set(Permission.objects.filter(codename__in=names))
    Membership.objects.create(user=limited, university=university)
    for user, waiting in (("limited", 1), ("root", 2)):
        assert api(user).get("/monitoring/rollout").json()["approvals_waiting"] == waiting
        assert len(api(user).get("/monitoring/rollout/approvals").json()) == waiting
        assert browser(user).get("/admin/live/home/").context["waiting"] == waiting
    for verdict, (approval, status) in product(("refuse", "approve"), ((foreign, 404), (own, 200))):
        path = f"/monitoring/rollout/approvals/{approval.pk}/{verdict}"
        body = {"reason": "r", "dry_run": True}
        assert api("limited").post(path, body, format="json").status_code == status


@pytest.mark.long
@pytest.mark.parametrize("is_in_shell", [False, True])
@pytest.mark.parametrize("surface", ["api", "admin"])
def test_a_requester_who_is_limited_later_withdraws(university: University, surface: str, is_in_shell: bool) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    names = ("view_rollout", "view_screens", "operate_rollout", "change_scope")
    clerk.user_permissions.set(Permission.objects.filter(codename__in=names))
    rule = UniversityRule(university_id=university.pk, phase=3, is_allowed=True)
    for by in ("clerk", "root"):
        account = None if is_in_shell else User.objects.get(username=by).pk
        with pytest.raises(ApprovalNeeded):
            changes.apply(request("scope", rule=rule, by=by, account=account))
    own, foreign = Approval.objects.order_by("pk")
    Membership.objects.create(user=clerk, university=University.objects.create(name="Другой"))
    assert api("clerk").get("/monitoring/rollout").json()["approvals_waiting"] == 1
    assert [row["id"] for row in api("clerk").get("/monitoring/rollout/approvals").json()] == [own.pk]
    assert browser("clerk").get("/admin/live/home/").context["waiting"] == 1
    assert [row for row, _what in browser("clerk").get("/admin/rollout/").context["requests"]] == [own]
    for approval, statuses in ((foreign, (404, 404)), (own, (200, 302))):
        if surface == "api":
            path = f"/monitoring/rollout/approvals/{approval.pk}/refuse"
            assert api("clerk").post(path, {"reason": "r"}, format="json").status_code == statuses[0]
        else:
            form = {"reason": "r", "verdict": "refuse"}
            assert browser("clerk").post(f"/admin/approvals/{approval.pk}/", form).status_code == statuses[1]
    assert set(Approval.objects.values_list("by", "state")) == {("clerk", "withdrawn"), ("root", "waiting")}
