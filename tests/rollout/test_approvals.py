"""With ROLLOUT_APPROVALS, a change that lets more people in waits for a second person, on every surface."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client, override_settings
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient
from waffle.models import Switch

from config.lib.messages import Message
from employees.credentials.models import ApiKey, LogIn
from employees.models import University
from monitoring.rollout_control import approvals, controller
from monitoring.rollout_control.approvals import Decider
from profiles.rollout import changes
from profiles.rollout.approvals import ApprovalNeeded
from profiles.rollout.models import Approval, Change, Flag, Plan, Rollout, UniversityRule
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import ChangeRefused
from tests.conftest import Phases, client_of
from tests.rollout.changing import change, plan_step, request

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "_waits")]

NEEDED = "A second person has to approve this change."
OWN = "Nobody can approve their own request: a second person has to."


@pytest.fixture
def _waits(settings: Settings, phases: Phases, monkeypatch: pytest.MonkeyPatch, superadmin: User) -> None:
    settings.ROLLOUT_APPROVALS = True
    monkeypatch.setattr(changes, "_gate_checks", [lambda *_: ([], None)])
    phases(100, 100, 5)
    superadmin.set_password("first")
    superadmin.save()


@pytest.fixture
def second(_waits: None) -> User:
    return User.objects.create_superuser("second", password="second")


def browser(user: str = "root") -> Client:
    client = Client()
    client.force_login(User.objects.get(username=user))
    return client


def shown(client: Client, path: str, form: dict[str, Any]) -> str:
    """Post the form and return the message that the page shows."""
    answer = client.post(path, {"reason": "r", **form}, follow=True)
    return str(next(iter(answer.context["messages"])))


def ran(*words: str) -> str:
    try:
        call_command(*words, stdout=io.StringIO())
    except CommandError as refused:
        return str(refused)
    return ""


def code(call: Callable[[], object]) -> str:
    try:
        # As a caller who writes more rows would.
        with transaction.atomic():
            call()
    except ChangeRefused as refused:
        return str(refused)
    return ""


def applied(action: str, **what: Any) -> str:
    try:
        changes.apply(request(action, **what))
    except ChangeRefused as refused:
        return str(refused)
    return ""


def posted(client: APIClient, path: str, **body: Any) -> str:
    answer = client.post(f"/monitoring/rollout/{path}", {"reason": "r", **body}, format="json")
    return "" if answer.status_code == 200 else str(answer.json()["error"]["message"])


def api(user: str = "root") -> APIClient:
    return client_of(User.objects.get(username=user))


def key_of(user: User) -> APIClient:
    key = ApiKey(name=f"deploy {ApiKey.objects.count()}", owner=user, expires_at=timezone.now() + timedelta(days=1))
    text = key.generate()
    key.save()
    key.permissions.set(Permission.objects.filter(codename__in=("operate_rollout", "view_rollout")))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
    return client


def save_flag(percent: int = 25, everyone: bool | None = None) -> None:
    flag = Flag.objects.get(name=PHASES[2])
    flag.percent, flag.everyone = percent, everyone
    flag.save()


def fired() -> str:
    return controller.fire(plan_step(3, 25, timezone.now(), by="root"))


def flag_form() -> str:
    flag = Flag.objects.get(name=PHASES[2])
    return shown(browser(), f"/admin/rollout/flag/{flag.pk}/change/", {"percent": "25", "note": ""})


STEP: dict[str, Callable[[], str]] = {
    "function": lambda: applied("set", phase=3, percent=25),
    "screen": lambda: shown(browser(), "/admin/steer/3/", {"percent": "25"}),
    "flag form": flag_form,
    "set": lambda: ran("rollout", "set", "--phase=3", "--percent=25", "--reason=r"),
    "advance": lambda: ran("rollout", "advance", "--reason=r"),
    "waffle_flag": lambda: ran("waffle_flag", PHASES[2], "--percent=25", "--reason=r"),
    "waffle_flag everyone": lambda: ran("waffle_flag", PHASES[2], "--everyone", "--reason=r"),
    "API set": lambda: posted(api(), "set", phase=3, percent=25),
    "API advance": lambda: posted(api(), "advance"),
    "API key": lambda: posted(key_of(User.objects.get(username="root")), "set", phase=3, percent=25),
    "save()": lambda: code(save_flag),
    "save() for everyone": lambda: code(lambda: save_flag(5, everyone=True)),
    "planned step": fired,
}


def switch_on() -> None:
    switch = Switch.objects.get(name="profile_cache")
    switch.active = True
    switch.save()


def switch_form() -> str:
    switch = Switch.objects.get(name="profile_cache")
    return shown(browser(), f"/admin/waffle/switch/{switch.pk}/change/", {"active": "on"})


SWITCH: dict[str, Callable[[], str]] = {
    "form": switch_form,
    "command": lambda: ran("rollout", "switch", "profile_cache", "on", "--reason=r"),
    "rollback --undo": lambda: ran("rollback", "cache", "--undo", "--reason=r"),
    "waffle_switch": lambda: ran("waffle_switch", "profile_cache", "on"),
    "waffle_switch with a reason": lambda: ran("waffle_switch", "profile_cache", "on", "--reason=r"),
    "save()": lambda: code(switch_on),
}


def admitted(university: int) -> str:
    form = {"university_id": university, "phase": "3", "is_allowed": "on"}
    return shown(browser(), "/admin/rollout/universityrule/add/", form)


def denial() -> UniversityRule:
    return UniversityRule.objects.get(is_allowed=False)


RULE: dict[str, Callable[[int], str]] = {
    "form": admitted,
    "command": lambda pk: ran("rollout", "university", "allow", f"--id={pk}", "--reason=r"),
    "clear": lambda pk: ran("rollout", "university", "clear", f"--id={pk}", "--reason=r"),
    "deletion": lambda pk: shown(browser(), f"/admin/rollout/universityrule/{denial().pk}/delete/", {"post": "yes"}),
    "save()": lambda pk: code(UniversityRule(university_id=pk, is_allowed=True, reason="r").save),
    "delete()": lambda pk: code(denial().delete),
}


def state() -> tuple[Any, ...]:
    rules = sorted(UniversityRule.objects.values_list("university_id", "phase", "is_allowed"))
    flags = list(Flag.objects.order_by("name").values_list("percent", "everyone"))
    switches = list(Switch.objects.order_by("name").values_list("active", flat=True))
    return flags, switches, rules, Rollout.current().revision, Change.objects.exclude(action="plan").count()


@pytest.mark.parametrize("surface", STEP)
def test_a_step_up_waits_everywhere(surface: str) -> None:
    before = state()
    assert STEP[surface]().startswith(NEEDED)
    assert state() == before
    assert Approval.objects.waiting().count() == (0 if surface.startswith("save()") else 1)


RESUME: dict[str, Callable[[], str]] = {
    "function": lambda: applied("resume"),
    "screen": lambda: shown(browser(), "/admin/steer/resume/", {}),
    "command": lambda: ran("rollout", "resume", "--reason=r"),
    "API": lambda: posted(api(), "resume"),
    "API key": lambda: posted(key_of(User.objects.get(username="root")), "resume"),
}
FORCED: dict[str, Callable[[], str]] = {
    "function": lambda: applied("set", phase=3, percent=25, is_forced=True),
    "screen": lambda: shown(browser(), "/admin/steer/3/", {"percent": "25", "force": "on"}),
    "set": lambda: ran("rollout", "set", "--phase=3", "--percent=25", "--reason=r", "--force"),
    "advance": lambda: ran("rollout", "advance", "--reason=r", "--force"),
    "API set": lambda: posted(api(), "set", phase=3, percent=25, force=True),
    "API advance": lambda: posted(api(), "advance", force=True),
}
REFUSED = ([{"gate": "dwell", "verdict": "FAIL", "message": "too early"}], Message("held"))


@pytest.mark.parametrize("surfaces", [STEP, RESUME, FORCED], ids=["step", "resume", "force"])
def test_every_surface_refuses_in_the_same_words(
    monkeypatch: pytest.MonkeyPatch, surfaces: dict[str, Callable[[], str]]
) -> None:
    """What waits is the same sentence everywhere, with the stored request beside it or without, and changes nothing."""
    if surfaces is RESUME:
        change("pause")
    if surfaces is FORCED:
        monkeypatch.setattr(changes, "_gate_checks", [lambda *_: REFUSED])
    notice = re.compile(r" Request \d+ waits until .+ (?:UTC|MSK)\.")
    answers, before = {}, state()
    for surface, ask in surfaces.items():
        with transaction.atomic():
            answers[surface] = notice.sub("", ask())
            assert state() == before, surface
            transaction.set_rollback(True)
    assert answers == dict.fromkeys(surfaces, NEEDED)


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


@pytest.mark.parametrize("surface", SWITCH)
def test_a_switch_that_is_turned_on_waits_everywhere(surface: str) -> None:
    Switch.objects.filter(name="profile_cache").update(active=False)
    before = state()
    assert SWITCH[surface]().startswith(NEEDED)
    assert state() == before


@pytest.mark.parametrize("surface", RULE)
def test_a_rule_that_lets_people_in_waits_everywhere(university: University, surface: str) -> None:
    change("scope", rule=UniversityRule(university_id=university.pk, phase=3))
    before = state()
    assert RULE[surface](university.pk).startswith(NEEDED)
    assert state() == before


def test_an_override_that_ends_waits(phases: Phases) -> None:
    Flag.objects.filter(name=PHASES[1]).update(everyone=False)
    assert applied("set", phase=2, percent=100) == NEEDED
    assert Flag.objects.get(name=PHASES[1]).everyone is False


def test_a_resume_and_a_forced_step_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = ([{"gate": "dwell", "verdict": "FAIL", "message": "too early"}], Message("held"))
    monkeypatch.setattr(changes, "_gate_checks", [lambda *_: refused])
    assert ran("rollout", "set", "--phase=3", "--percent=25", "--reason=r") == "held"
    assert not Approval.objects.exists()
    assert ran("rollout", "set", "--phase=3", "--percent=25", "--reason=r", "--force") == NEEDED
    assert Approval.objects.get().is_forced
    change("pause")
    assert posted(api(), "resume") == NEEDED


def test_what_lets_nobody_in_never_waits(university: University) -> None:
    revision = Rollout.current().revision
    assert ran("rollout", "set", "--phase=3", "--percent=1", "--reason=r") == ""
    save_flag(0)
    assert ran("rollout", "university", "deny", f"--id={university.pk}", "--reason=r") == ""
    assert ran("rollout", "pause", "--reason=r") == ""
    assert ran("rollout", "switch", "profile_cache", "off", "--reason=r") == ""
    change("emergency")
    assert Rollout.current().revision == revision + 6
    assert not Approval.objects.exists()


def test_a_dry_run_says_so_and_asks_nobody() -> None:
    out = io.StringIO()
    call_command("rollout", "set", "--phase=3", "--percent=25", "--reason=r", "--dry-run", stdout=out)
    assert NEEDED in out.getvalue()
    assert not Approval.objects.exists()


def asked(user: str = "root") -> Approval:
    assert posted(api(user), "set", phase=3, percent=25, reason="the fair opens") == NEEDED
    return Approval.objects.get()


def by_screen(pk: int, user: str) -> str:
    answer = browser(user).post(f"/admin/approvals/{pk}/", {"reason": "checked", "verdict": "approve"})
    return "" if answer.status_code == 302 else str(answer.context["refusal"])


def by_command(pk: int, user: str) -> str:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", io.StringIO({"root": "first"}.get(user, user) + "\n"))
        return ran("rollout", "approve", str(pk), "--by", user, "--reason=checked")


def by_api(pk: int, user: str) -> str:
    return posted(api(user), f"approvals/{pk}/approve", reason="checked")


def by_key(pk: int, user: str) -> str:
    return posted(key_of(User.objects.get(username=user)), f"approvals/{pk}/approve", reason="checked")


APPROVING = {"screen": by_screen, "command": by_command, "API": by_api, "API key": by_key}


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
    assert APPROVING[surface](approval.pk, "second") == "This request does not wait for approval."


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
    assert by_command(approval.pk, "viewer") == "Only somebody who may make this change can decide on it."
    assert browser("viewer").post(f"/admin/approvals/{approval.pk}/", {"verdict": "approve"}).status_code == 403
    assert api("viewer").post(f"/monitoring/rollout/approvals/{approval.pk}/approve").status_code == 403
    approval.is_forced = True
    approval.save()
    manager = User.objects.create_user("manager", is_staff=True)
    manager.user_permissions.set(Permission.objects.filter(codename__in=("operate_rollout", "view_rollout")))
    assert by_api(approval.pk, "manager") == "Only somebody who may make this change can decide on it."


def test_a_wrong_password_approves_nothing(second: User) -> None:
    approval = asked()
    User.objects.filter(username="second").update(password="!")
    assert by_command(approval.pk, "second").startswith("Wrong password of second")
    assert Approval.objects.waiting().exists()


def test_the_gates_judge_again(second: User, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = asked()
    monkeypatch.setattr(changes, "_gate_checks", [lambda *_: ([], Message("held"))])
    assert by_api(approval.pk, "second") == "held"
    assert Approval.objects.waiting().exists()


def test_the_world_moved(second: User) -> None:
    outdated = "The rollout has changed since, so this request no longer applies. Refuse it."
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
    assert by_api(approval.pk, "second") == "“root” may no longer make this change."
    assert Flag.objects.get(name=PHASES[2]).percent == 5


def test_a_request_expires(second: User) -> None:
    approval = asked()
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert by_api(approval.pk, "second") == "This request does not wait for approval."
    controller.run()
    approval.refresh_from_db()
    assert approval.state == "expired"


def test_a_request_is_refused_or_withdrawn(second: User) -> None:
    approval = asked()
    assert posted(api("second"), f"approvals/{approval.pk}/refuse", reason="not now") == ""
    approval.refresh_from_db()
    assert (approval.state, approval.decided_by, approval.decision_reason) == ("refused", "second", "not now")
    assert by_api(approval.pk, "second") == "This request does not wait for approval."
    Approval.objects.all().delete()
    approval = asked()
    browser().post(f"/admin/approvals/{approval.pk}/", {"reason": "wrong", "verdict": "refuse"})
    approval.refresh_from_db()
    assert approval.state == "withdrawn"


def test_the_same_request_waits_once() -> None:
    assert posted(api(), "set", phase=3, percent=25) == NEEDED
    assert posted(api(), "set", phase=3, percent=25) == NEEDED
    assert Approval.objects.count() == 1


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


def test_pages_and_commands_show_who_waits(second: User) -> None:
    empty = browser().get("/admin/rollout/").content.decode()
    assert "No change waits for approval." in empty
    approval = asked()
    home = browser("second").get("/admin/").content.decode()
    assert "1 change waits for approval by a second person." in home
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
    assert "1 change waits for approval by a second person" in out.getvalue()
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


def test_the_function_itself_refuses_the_requester(superadmin: User) -> None:
    approval = asked()
    with pytest.raises(ChangeRefused, match="own request"):
        approvals.approve(approval.pk, Decider.of(superadmin), "r")
    with pytest.raises(ApprovalNeeded):
        changes.apply(request("set", phase=3, percent=25))
