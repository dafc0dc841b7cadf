"""A plan of several steps: each is judged when it is due, and the next one takes its place."""

from __future__ import annotations

import io
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from config.lib.messages import Message
from monitoring.rollout_control import controller
from profiles.rollout import changes
from profiles.rollout.models import Change, Flag, Plan
from profiles.rollout.phases import PHASES
from profiles.rollout.presenters import audit_rows
from profiles.rollout.rules import ChangeRefused, hours
from tests.conftest import Phases, client_of
from tests.rollout.changing import change, plan_step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "superadmin")]


class Gates:
    """The gates of every step: ``refusal`` is their message while they do not pass."""

    refusal: Message | None = None

    def __call__(self, *_: Any) -> tuple[list[dict[str, Any]], Message | None]:
        return [], self.refusal


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch, phases: Phases) -> Gates:
    gates = Gates()
    monkeypatch.setattr(changes, "_gate_checks", [gates])
    phases(100, 100, 0)
    return gates


def planned(*percents: int, by: str = "root", **terms: Any) -> list[Plan]:
    """Plan the steps an hour apart; the first one is due now."""
    now = timezone.now()
    steps = [(percent, now + number * timedelta(hours=1)) for number, percent in enumerate(percents)]
    change("plan", phase=3, steps=steps, by=by, **terms)
    return steps_now()


def steps_now() -> list[Plan]:
    return list(Plan.objects.order_by("pk"))


def states() -> list[str]:
    return [step.state for step in steps_now()]


def percent() -> int:
    return int(Flag.objects.get(name=PHASES[2]).percent)


def test_it_works(gates: Gates) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        planned(1, 5, 25)
        for expected in (1, 5, 25):
            controller.fire_due()
            assert percent() == expected
            controller.fire_due()
            assert percent() == expected
            clock.shift(timedelta(hours=1))
    assert states() == ["done"] * 3
    assert list(Change.objects.filter(action="schedule").values_list("by", flat=True)) == ["root"] * 3


def test_a_step_whose_gates_do_not_pass_at_its_time_ends_the_plan(gates: Gates) -> None:
    planned(1, 5)
    gates.refusal = Message("held")
    controller.fire_due()
    assert states() == ["dropped", "dropped"]
    assert {step.text for step in steps_now()} == {"held"}


def test_a_step_waits_until_its_gates_pass(gates: Gates) -> None:
    planned(1, 5, waits_for_gates=True)
    gates.refusal = Message("held")
    controller.fire_due(waits_for_gates=True)
    assert (states(), steps_now()[0].text) == (["planned", "queued"], "held")
    gates.refusal = None
    controller.fire_due()
    assert percent() == 0, "such a step is tried after a check of the gates only"
    controller.fire_due(waits_for_gates=True)
    assert (percent(), states()) == (1, ["done", "planned"])


@pytest.mark.parametrize(
    ("window", "hour", "is_taken"),
    [
        ((9, 18), 8, False),
        ((9, 18), 9, True),
        ((9, 18), 17, True),
        ((9, 18), 18, False),
        ((22, 6), 23, True),
        ((22, 6), 5, True),
        ((22, 6), 6, False),
        ((22, 6), 12, False),
        ((9, 24), 23, True),
    ],
)
def test_a_step_is_taken_in_its_hours_of_the_site(
    gates: Gates, settings: Settings, window: tuple[int, int], hour: int, is_taken: bool
) -> None:
    settings.TIME_ZONE = "Europe/Moscow"
    moscow = datetime(2026, 12, 1, hour, 30, tzinfo=timezone.get_fixed_timezone(180))
    with time_machine.travel(moscow, tick=False):
        planned(1, hours=window)
        controller.fire_due()
        assert (percent() == 1) is is_taken
        assert states() == (["done"] if is_taken else ["planned"])


@pytest.mark.parametrize(
    "stop",
    [
        lambda: change("pause"),
        lambda: change("emergency"),
        lambda: change("set", phase=3, percent="0.5"),
        lambda: change("roll-back", phase=3),
    ],
)
def test_a_hold_an_emergency_and_a_manual_change_end_the_plan(gates: Gates, stop: Any) -> None:
    planned(1, 5, 25)
    controller.fire_due()
    stop()
    before = percent()
    controller.fire_due()
    assert states() == ["done", "dropped", "dropped"]
    assert percent() == before


@pytest.mark.parametrize("loss", ["is_active", "is_superuser", "deleted", "limited"])
def test_a_step_of_somebody_who_was_demoted_is_not_taken(gates: Gates, loss: str, superadmin: User) -> None:
    planned(1, 5, account=superadmin.pk)
    if loss == "deleted":
        superadmin.delete()
    elif loss == "limited":
        User.objects.filter(pk=superadmin.pk).update(is_superuser=False)
        superadmin.user_permissions.set(Permission.objects.exclude(codename="operate_rollout"))
    else:
        User.objects.filter(pk=superadmin.pk).update(**{loss: False})
    controller.fire_due()
    assert states() == ["dropped", "dropped"]
    assert steps_now()[0].text == "“root” no longer has permission to make this change."
    assert percent() == 0


def test_a_plan_of_an_earlier_release_is_judged_by_the_name(gates: Gates) -> None:
    step = plan_step(3, 1, timezone.now(), by="root")
    assert step.account is None
    User.objects.update(is_superuser=False)
    assert controller.fire(step) == "“root” no longer has permission to make this change."


def test_somebody_in_the_shell_needs_no_account(gates: Gates) -> None:
    planned(1, by="deploy")
    controller.fire_due()
    assert percent() == 1


@pytest.mark.django_db(transaction=True)
def test_two_controllers_take_a_step_once(gates: Gates) -> None:
    planned(1, 5)
    both, counts = threading.Barrier(2), []

    def run() -> None:
        both.wait(60)
        counts.append(controller.fire_due())
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Change.objects.filter(action="schedule").count() == 1
    assert (percent(), states()) == (1, ["done", "planned"])
    assert sorted(counts)[1] == 1


@pytest.mark.parametrize(
    "steps",
    [[(5, 1), (1, 2)], [(1, 2), (5, 1)], [(1, 1), (5, 1)], [(1, 1), (1, 2)]],
)
def test_steps_are_in_order(gates: Gates, steps: list[tuple[int, int]]) -> None:
    now = timezone.now()
    with pytest.raises(ChangeRefused, match="higher percentage and a later time"):
        change("plan", phase=3, steps=[(percent, now + timedelta(hours=hour)) for percent, hour in steps])
    with pytest.raises(ChangeRefused, match="at least one step"):
        change("plan", phase=3, steps=[])


@pytest.mark.parametrize("text", ["9", "9-25", "24-9", "a-b", "9-18-20", "-1-5", "٩-18"])
def test_hours_are_two_numbers(text: str) -> None:
    with pytest.raises(ChangeRefused, match="Enter the hours as two numbers"):
        hours(text)


def operator() -> Client:
    client = Client()
    client.force_login(User.objects.get(username="root"))
    return client


def at(hour: int) -> str:
    return f"{timezone.localtime() + timedelta(hours=hour):%Y-%m-%dT%H:%M}"


def by_screen() -> None:
    form = {"phase": "3", "percent": "1", "due_at": at(1), "percent_2": "5", "due_at_2": at(2)}
    form |= {"percent_3": "25", "due_at_3": at(3), "hours": "9-18", "reason": "the fair"}
    assert operator().post("/admin/steer/plan/", form).status_code == 302


def by_command() -> None:
    words = ("rollout", "schedule", "--phase=3", "--percent", "1", "5", "25", "--at", "1h", "2h", "3h")
    call_command(*words, "--hours=9-18", "--reason=the fair", "--by=root", stdout=io.StringIO())


def by_api() -> None:
    now = timezone.now()
    steps = [{"percent": p, "at": (now + timedelta(hours=n)).isoformat()} for p, n in ((1, 1), ("5", 2), (25, 3))]
    body = {"phase": 3, "steps": steps, "hours": "9-18", "reason": "the fair"}
    api = client_of(User.objects.get(username="root"))
    answer = api.post("/monitoring/rollout/plan", body, format="json")
    assert (answer.status_code, answer.json()["changes"]) == (200, ["Step planned"])


def cancel_by_screen(pk: int) -> None:
    assert operator().post(f"/admin/steer/plan/{pk}/cancel/", {"reason": "r"}).status_code == 302


def cancel_by_command(pk: int) -> None:
    call_command("rollout", "unschedule", str(pk), "--reason=r", stdout=io.StringIO())


def cancel_by_api(pk: int) -> None:
    api = client_of(User.objects.get(username="root"))
    answer = api.post("/monitoring/rollout/cancel", {"plan": pk, "reason": "r"}, format="json")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("make", "cancel"),
    [(by_screen, cancel_by_screen), (by_command, cancel_by_command), (by_api, cancel_by_api)],
)
def test_a_plan_is_made_and_cancelled_everywhere(gates: Gates, make: Any, cancel: Any) -> None:
    make()
    steps = steps_now()
    assert [(int(step.percent), step.state, step.hours) for step in steps] == [
        (1, "planned", (9, 18)),
        (5, "queued", (9, 18)),
        (25, "queued", (9, 18)),
    ]
    assert {step.first_id for step in steps[1:]} == {steps[0].pk}
    assert {(step.by, step.reason) for step in steps} == {("root", "the fair")}
    cancel(steps[0].pk)
    assert states() == ["dropped"] * 3


def test_what_is_left_of_a_plan_is_cancelled_by_its_number(gates: Gates) -> None:
    first = planned(1, 5, 25)[0]
    controller.fire_due()
    cancel_by_command(first.pk)
    assert states() == ["done", "dropped", "dropped"]
    with pytest.raises(CommandError, match="no longer planned"):
        cancel_by_command(first.pk)


def test_the_page_the_command_and_the_report_show_the_timeline(gates: Gates) -> None:
    first = planned(1, 5, waits_for_gates=True, hours=(9, 18), reason="the fair")[0]
    gates.refusal = Message("held by the gates")
    with time_machine.travel(datetime(2026, 12, 1, 12, tzinfo=timezone.get_default_timezone()), tick=False):
        Plan.objects.update(due_at=timezone.now())
        controller.fire_due(waits_for_gates=True)
        out = io.StringIO()
        call_command("rollout", "status", stdout=out)
        texts = [" ".join(out.getvalue().split()), operator().get("/admin/rollout/").content.decode()]
    for text in texts:
        assert "the fair" in text
        assert "held by the gates" in text
        assert "waiting for the previous step" in text
        assert "phase 3 to 5% when its gates pass" in text
        assert "only from 9:00 to 18:00" in text
    [row] = client_of(User.objects.get(username="root")).get("/monitoring/rollout").json()["plans"]
    assert (row["plan"], [step["percent"] for step in row["steps"]]) == (first.pk, [1.0, 5.0])
    assert "phase 3 to 5% when its gates pass" in audit_rows.change(Change.objects.latest("pk"))


def test_a_stopped_plan_stays_visible(gates: Gates) -> None:
    planned(1, 5)
    gates.refusal = Message("held by the gates")
    controller.fire_due()
    assert "held by the gates" in operator().get("/admin/rollout/").content.decode()
    assert percent() == 0
