"""Every surface refuses a change with the same message and leaves the same audit row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from waffle.models import Switch

from employees.backfill import batches
from employees.models import BackfillRun
from monitoring.dashboard.actions import confirmation
from monitoring.rollout_control import controller
from profiles.rollout import changes
from profiles.rollout.decision import decide
from profiles.rollout.models import Change, Flag, Plan, PlanState, Rollout
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import ChangeRefused
from tests.conftest import Phases, client_of
from tests.rollout.approvals.surfaces import ran
from tests.rollout.changing import change, plan_step, request

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "superadmin")]


@dataclass(frozen=True)
class Asked:
    phase: int = 3
    percent: str = "1"
    reason: str = "r"
    revision: str = ""
    is_forced: bool = False

    @property
    def force(self) -> dict[str, str]:
        return {"force": "on"} if self.is_forced else {}

    @property
    def terms(self) -> list[str]:
        revision = [f"--expect-revision={self.revision}"] if self.revision else []
        return [f"--reason={self.reason}", *revision]


# Returns the refusal; nothing when it is done.
Surface = Callable[[Asked], str]


def operator() -> Client:
    client = Client()
    client.force_login(User.objects.get(username="root"))
    return client


def by_function(asked: Asked) -> str:
    try:
        what: dict[str, Any] = {"phase": asked.phase, "percent": asked.percent, "is_forced": asked.is_forced}
        changes.apply(request("set", reason=asked.reason, expected_revision=asked.revision, **what))
    except ChangeRefused as refused:
        return str(refused)
    return ""


def by_screen(asked: Asked) -> str:
    form = {"percent": asked.percent, "reason": asked.reason, "revision": asked.revision} | asked.force
    answer = operator().post(f"/admin/steer/{asked.phase}/", form)
    return "" if answer.status_code == 302 else str(answer.context["refusal"])


def by_flag_form(asked: Asked) -> str:
    flag = Flag.objects.get(name=PHASES[asked.phase - 1])
    form = {"percent": asked.percent, "reason": asked.reason, "expect_revision": asked.revision, "note": ""}
    answer = operator().post(f"/admin/rollout/flag/{flag.pk}/change/", form | asked.force)
    return "" if answer.status_code == 302 else str(answer.context["adminform"].form.non_field_errors()[0])


def by_command(asked: Asked) -> str:
    return ran(
        "rollout",
        "set",
        f"--phase={asked.phase}",
        f"--percent={asked.percent}",
        *asked.terms,
        *["--force"] * asked.is_forced,
    )


def by_waffle_flag(asked: Asked) -> str:
    name = PHASES[asked.phase - 1]
    return ran("waffle_flag", name, f"--percent={asked.percent}", *asked.terms, *["--force"] * asked.is_forced)


def by_api(asked: Asked) -> str:
    body = {"phase": asked.phase, "percent": asked.percent, "reason": asked.reason}
    body |= {"expect_revision": asked.revision, "force": asked.is_forced}
    api = client_of(User.objects.get(username="root"))
    answer = api.post("/monitoring/rollout/set", body, format="json")
    assert answer.status_code in (200, 400)
    return "" if answer.status_code == 200 else str(answer.json()["error"]["message"])


def by_save(asked: Asked) -> str:
    flag = Flag.objects.get(name=PHASES[asked.phase - 1])
    flag.percent, flag.change_reason = asked.percent, asked.reason
    try:
        flag.save()
    except ChangeRefused as refused:
        return str(refused)
    return ""


def by_plan(asked: Asked) -> str:
    due_at = timezone.now() + timedelta(minutes=1)
    step = Plan(phase=asked.phase, percent=asked.percent, due_at=due_at, by="root", reason=asked.reason)
    step.revision = Rollout.current().revision
    step.save()
    text = controller.fire(step)
    return "" if step.state == PlanState.DONE else text


def by_plan_form(asked: Asked) -> str:
    due_at = f"{timezone.localtime() + timedelta(hours=1):%Y-%m-%dT%H:%M}"
    form = {"phase": asked.phase, "percent": asked.percent, "reason": asked.reason, "due_at": due_at}
    answer = operator().post("/admin/steer/plan/", form | {"revision": asked.revision})
    return "" if answer.status_code == 302 else str(answer.context["form"].non_field_errors()[0])


def by_schedule(asked: Asked) -> str:
    return ran("rollout", "schedule", f"--phase={asked.phase}", f"--percent={asked.percent}", "--at=1h", *asked.terms)


WITH_GATES: list[Surface] = [by_function, by_screen, by_flag_form, by_command, by_waffle_flag, by_api]
NOW: list[Surface] = [*WITH_GATES, by_save]
LATER: list[Surface] = [by_plan_form, by_schedule]
WITH_REVISION: list[Surface] = [by_function, by_screen, by_flag_form, by_command, by_api, *LATER]
WITH_ANY_PHASE: list[Surface] = [by_function, by_command, by_api, *LATER]


def state() -> tuple[Any, ...]:
    percents = tuple(Flag.objects.order_by("name").values_list("percent", flat=True))
    return percents, Rollout.current().revision, Change.objects.count(), Plan.objects.filter(state="planned").count()


NUMBER = "A percentage must be a number from 0 to 100 with at most two decimals."
LATCHED = "The emergency stop is on until somebody resumes the rollout."


def nothing() -> None:
    pass


def paused() -> None:
    change("pause", reason="holiday")


def stopped() -> None:
    change("emergency")


# Changes of a rollout with phase 3 at 5%, what happened before, and the refusal.
BAD: dict[str, tuple[list[Surface], Callable[[], None], dict[str, Any], str]] = {
    "no number": ([*NOW, *LATER], nothing, {"percent": "abc"}, NUMBER),
    "no percentage at all": ([*NOW, *LATER], nothing, {"percent": ""}, NUMBER),
    "too much": ([*NOW, *LATER, by_plan], nothing, {"percent": "101"}, NUMBER),
    "too little": ([*NOW, *LATER], nothing, {"percent": "-1"}, NUMBER),
    "too exact": ([*NOW, *LATER], nothing, {"percent": "12.345"}, NUMBER),
    "not finite": ([*NOW, *LATER], nothing, {"percent": "NaN"}, NUMBER),
    "no phase": (WITH_ANY_PHASE, nothing, {"phase": 9}, "There is no phase “9”: choose 1, 2, 3 or 4."),
    "no reason": ([*WITH_GATES, *LATER], nothing, {"reason": " "}, "A reason is required."),
    "a reason of dots": ([*WITH_GATES, *LATER], nothing, {"reason": " … . "}, "A reason is required."),
    "a long reason": (
        [*NOW, *LATER], nothing, {"reason": "x" * 501}, "A reason must be text of at most 500 characters.",
    ),
    "an older revision": (
        WITH_REVISION, nothing, {"revision": "0"},
        "The rollout has changed: it is at revision 1, not 0. Check it and retry.",
    ),
    "no revision": (
        WITH_REVISION, nothing, {"revision": "1e3"}, "A revision must be a whole number of at most 19 digits.",
    ),
    "an endless revision": (
        WITH_REVISION, nothing, {"revision": "9" * 999}, "A revision must be a whole number of at most 19 digits.",
    ),
    "up while paused": (
        [*NOW, *LATER, by_plan], paused, {"percent": "25"},
        "The rollout is paused (holiday): resume it first.",
    ),
    "up under the latch": ([*NOW, *LATER, by_plan], stopped, {"percent": "1"}, LATCHED),
    "deeper than the phase before": (
        [*NOW, *LATER, by_plan], nothing, {"phase": 4, "percent": "25"}, "Phase 4 cannot go to 25%: phase 3 is at 5%.",
    ),
    "a part of phase 2": (
        [*NOW, *LATER, by_plan], nothing, {"phase": 2, "percent": "50"}, "Phase 2 can only be at 0% or 100%.",
    ),
    "a step too far": (
        [*WITH_GATES, by_plan], nothing, {"percent": "50"},
        "Phase 3 is held at 5%: one step at a time: after 5% comes 25%; ",
    ),
}  # fmt: skip


# One of each rule; its other values are left to `make test-integration`.
MORE = {"no percentage at all", "too little", "too exact", "not finite", "a long reason", "an endless revision"}


@pytest.mark.long
@pytest.mark.usefixtures("shared_round")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.integration) if name in MORE else name for name in BAD]
)
def test_it_is_refused_with_the_same_message(phases: Phases, name: str) -> None:
    surfaces, prepare, given, message = BAD[name]
    phases(100, 100, 5)
    Rollout.objects.update_or_create(pk=1, defaults={"revision": 1})
    prepare()
    before = state()
    asked = Asked(**given)
    with time_machine.travel(timezone.now(), tick=False):
        refusals = {surface.__name__: surface(asked) for surface in surfaces}
    assert len(set(refusals.values())) == 1, refusals
    refusal = refusals[surfaces[0].__name__]
    assert refusal.startswith(message) if message.endswith("; ") else refusal == message
    assert state() == before


# A plan keeps the number that was read.
GOOD = [(by_plan, "1"), *((surface, "0,5") for surface in NOW)]
MORE_GOOD = [
    pytest.param(surface, percent, marks=pytest.mark.integration) for surface in NOW for percent in ("1", " 2.50 ")
]


@pytest.mark.parametrize(("surface", "percent"), [*GOOD, *MORE_GOOD])
def test_it_works_and_leaves_the_same_row(phases: Phases, surface: Surface, percent: str) -> None:
    phases(100, 100, 5, 5)
    revision = Rollout.current().revision
    assert surface(Asked(percent=percent, reason="too fast")) == ""
    shown = {"1": "1", "0,5": "0.5", " 2.50 ": "2.5"}[percent]
    row = Change.objects.latest("pk")
    assert row.revision == Rollout.current().revision == revision + 1
    assert [row.before["percents"][name] for name in PHASES] == ["100", "100", "5", "5"]
    assert [row.after["percents"][name] for name in PHASES] == ["100", "100", shown, shown]
    assert (row.reason, row.evidence, row.is_forced) == ("too fast", [], False)
    assert row.action == {"by_save": "save", "by_plan": "schedule"}.get(surface.__name__, "set")
    assert row.by == {"by_function": "tester", "by_save": "code"}.get(surface.__name__, row.by)
    assert float(Flag.objects.get(name=PHASES[3]).percent) == float(shown)


@pytest.mark.long
def test_a_forced_step_leaves_the_same_row_too(phases: Phases) -> None:
    rows = []
    with time_machine.travel(timezone.now(), tick=False):
        for surface in WITH_GATES:
            phases(100, 100, 1)
            assert surface(Asked(percent="50", reason="the fair opens", is_forced=True)) == ""
            rows.append(
                Change.objects.values("action", "reason", "before", "after", "evidence", "is_forced").latest("pk")
            )
    assert rows == rows[:1] * len(WITH_GATES)
    assert rows[0]["is_forced"]
    assert {"step", "agreement", "dwell"} <= {item["gate"] for item in rows[0]["evidence"]}


def test_what_code_saves_is_not_judged(phases: Phases) -> None:
    phases(100, 100, 1)
    assert by_save(Asked(percent="50", reason="")) == ""
    row = Change.objects.latest("pk")
    assert (row.by, row.action, row.reason) == ("code", "save", "Saved from code; no reason given")
    assert (row.after["percents"][PHASES[2]], row.evidence) == ("50", [])


def stop_by_screen() -> None:
    assert operator().post("/admin/emergency/", {"word": confirmation(), "reason": "r"}).status_code == 200


def stop_by_switch_form() -> None:
    switch = Switch.objects.get(name="emergency_stop")
    path = f"/admin/waffle/switch/{switch.pk}/change/"
    assert operator().post(path, {"active": "on", "reason": "r"}).status_code == 302


def stop_by_api() -> None:
    api = client_of(User.objects.get(username="root"))
    assert api.post("/monitoring/rollout/emergency", {"reason": "r"}, format="json").status_code == 200


EMERGENCIES: list[Callable[[], object]] = [
    stop_by_screen,
    stop_by_switch_form,
    stop_by_api,
    lambda: ran("rollback", "emergency", "--reason", "r"),
]


@pytest.mark.parametrize("stop", EMERGENCIES)
def test_an_emergency_stops_the_same(phases: Phases, stop: Callable[[], object]) -> None:
    phases(100, 100, 50, 25)
    run, plan = batches.start(), plan_step(4, 50, timezone.now() + timedelta(hours=1))
    stop()
    row = Change.objects.get(action="emergency")
    assert (row.reason, row.after["percents"]) == ("r", dict.fromkeys(PHASES, "0"))
    assert decide(None).reason == "KILLED"
    assert BackfillRun.objects.get(pk=run.pk).status == "paused"
    assert Plan.objects.get(pk=plan.pk).state == PlanState.DROPPED
