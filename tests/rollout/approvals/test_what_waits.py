"""With ROLLOUT_APPROVALS, a change that lets more people in waits for a second person, on every surface."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from waffle.models import Switch

from config.lib.messages import Message
from employees.models import University
from monitoring.rollout_control import controller
from profiles.rollout import changes
from profiles.rollout.models import Approval, Change, Flag, Rollout, UniversityRule
from profiles.rollout.phases import PHASES
from tests.conftest import Phases
from tests.rollout.approvals.surfaces import (
    NEEDED,
    api,
    applied,
    browser,
    code,
    key_of,
    posted,
    ran,
    shown,
)
from tests.rollout.changing import change, plan_step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "_waits")]


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
    notice = re.compile(r" Request \d+ is waiting for approval until .+ (?:UTC|MSK)\.")
    answers, before = {}, state()
    for surface, ask in surfaces.items():
        with transaction.atomic():
            answers[surface] = notice.sub("", ask())
            assert state() == before, surface
            transaction.set_rollback(True)
    assert answers == dict.fromkeys(surfaces, NEEDED)


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


def test_the_same_request_waits_once() -> None:
    assert posted(api(), "set", phase=3, percent=25) == NEEDED
    assert posted(api(), "set", phase=3, percent=25) == NEEDED
    assert Approval.objects.count() == 1
