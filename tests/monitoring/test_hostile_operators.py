"""Wrong input, concurrent operators and wrong clocks: refused in one line, without a traceback or half a change."""

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.test import APIClient
from waffle.models import Switch

from employees.models import University
from monitoring.rollout_control import controller
from monitoring.rollout_control.admin.rollout import ChangeRequestForm
from monitoring.rollout_control.models import GateCheck, Verdict
from profiles.rollout import changes, rules
from profiles.rollout.decision import decide, forget_state
from profiles.rollout.models import Change, Flag, Plan, Rollout, UniversityRule
from profiles.rollout.phases import PHASES, SHADOW
from profiles.rollout.rules import ChangeRefused
from tests.conftest import Phases
from tests.rollout.changing import change, request


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out, stderr=out)
    forget_state()
    return out.getvalue()


def state() -> tuple[Any, ...]:
    flags = tuple(Flag.objects.order_by("name").values_list("name", "percent", "everyone", "salt"))
    return flags, tuple(Switch.objects.order_by("name").values_list("name", "active")), Rollout.current().revision


@pytest.fixture
def _five(phases: Phases, university: University) -> None:
    phases(100, 100, 5)


REASON = ("--reason", "r")
BAD_LINES = [
    ("rollout", "set", "--phase", "5", "--percent", "1", *REASON),
    ("rollout", "set", "--phase", "", "--percent", "1", *REASON),
    ("rollout", "set", "--phase", "3", "--percent", "", *REASON),
    ("rollout", "set", "--phase", "3", "--percent", "1e999999", *REASON),
    ("rollout", "set", "--phase", "3", "--percent", "1"),
    ("rollout", "set", "--phase", "3", "--percent", "1", "--reason", "\x1b\u202e"),
    ("rollout", "set", "--phase", "3", "--percent", "1", "--reason", "x" * 501),
    ("rollout", "set", "--phase", "3", "--percent", "1", "--expect-revision", "999999999999999999999", *REASON),
    ("rollout", "advance", "--phase", "2", *REASON),
    ("rollout", "schedule", "--phase", "3", "--percent", "25", "--at", "99999999999h", *REASON),
    ("rollout", "schedule", "--phase", "3", "--percent", "25", "--at", "2020-01-01T00:00", *REASON),
    ("rollout", "schedule", "--phase", "3", "--percent", "25", "--at", "2031-13-01T00:00", *REASON),
    ("rollout", "schedule", "--phase", "3", "--percent", "25", "--at", "0001-01-01T00:00+14:00", *REASON),
    ("rollout", "schedule", "--phase", "3", "--percent", "25", "--at", "9999-12-31T23:59-14:00", *REASON),
    ("rollout", "university", "deny", "--id", "9223372036854775808", *REASON),
    ("rollout", "university", "deny", "--id", "-1", *REASON),
    ("rollout", "replay", "--percent", "50", "--days", "0"),
    ("rollout", "replay", "--percent", "50", "--days", "999999999999"),
    ("rollout", "replay", "--percent", "-1"),
    ("rollout", "preview", "--phase", "3", "--percent", "50", "--limit", "99999999999999999999"),
    ("rollout", "history", "--limit", "99999999999999999999"),
    ("rollout", "explain", "--phone", "1" * 500),
    ("rollout", "gates", "--phase", "0"),
    ("rollback", "emergency", "--university", "1", *REASON),
    ("rollback", "emergency", "--rehearse", *REASON),
    ("rollback", "emergency", "--rehearse", "--university", "99999999999999999999", *REASON),
    ("rollback", "schema", *REASON),
    ("waffle_flag", PHASES[2], "--percent", "1", "--reason", " "),
    ("waffle_flag", "no_such_flag", "--percent", "1", *REASON),
    ("waffle_switch", "emergency_stopp", "on"),
    ("waffle_switch", "emergency_stop", "on"),
    ("waffle_switch", "profile_cache", "off"),
    ("waffle_delete", "--flags", PHASES[2]),
    ("waffle_delete", "--switches", "emergency_stop"),
]


@pytest.mark.django_db
@pytest.mark.usefixtures("_five")
def test_a_wrong_command_is_refused_in_one_line() -> None:
    before = state()
    for words in BAD_LINES:
        with pytest.raises(CommandError) as refused, transaction.atomic():
            run(*words)
        assert "\n" not in str(refused.value), words
        assert state() == before, words
        assert not Plan.objects.exists(), words


words = st.text(max_size=20) | st.sampled_from(["3", "50", "1h", "+79161234567", "100.00", "0x1", "-0", "٣", "1_0"])


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.usefixtures("_five")
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(phase=words, percent=words, at=words, phone=words, reason=words)
def test_any_input_is_accepted_or_refused(phase: str, percent: str, at: str, phone: str, reason: str) -> None:
    for line in (
        ("set", f"--phase={phase}", f"--percent={percent}", f"--reason={reason}", "--dry-run"),
        ("schedule", f"--phase={phase}", f"--percent={percent}", f"--at={at}", f"--reason={reason}", "--dry-run"),
        ("university", "deny", "--id=1", f"--until={at}", f"--reason={reason}", "--dry-run"),
        ("explain", f"--phone={phone}"),
        ("preview", f"--phase={phase}", f"--percent={percent}"),
        ("replay", f"--percent={percent}"),
    ):
        try:
            with transaction.atomic():
                run("rollout", *line)
        except CommandError:
            continue


@pytest.mark.django_db
@pytest.mark.usefixtures("_five")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"phase": None, "percent": "1", "reason": "r"},
        {"phase": 3, "percent": None, "reason": "r"},
        {"phase": {"a": 1}, "percent": [1], "reason": "r"},
        {"phase": 3, "percent": True, "reason": "r"},
        {"phase": 3, "percent": "1", "reason": "\x00\u200b"},
        {"phase": 3, "percent": "1", "reason": "r", "expect_revision": 10**30},
        {"phase": 3, "percent": "1", "reason": "r", "dry_run": "maybe"},
        [],
        "set",
    ],
)
def test_a_wrong_body_is_400(api: APIClient, body: Any) -> None:
    before, path = state(), "/monitoring/rollout/set"
    assert api.post(path, json.dumps(body), content_type="application/json").status_code == 400
    assert state() == before


@pytest.mark.django_db
def test_the_phases_keep_one_salt(phases: Phases) -> None:
    flag = Flag.objects.get(name=PHASES[2])
    flag.salt = "mine"
    with pytest.raises(ChangeRefused, match="one salt"):
        flag.save()


@pytest.mark.django_db
def test_the_shadow_is_audited_too(phases: Phases) -> None:
    with pytest.raises(CommandError, match=r"A reason is required\."):
        run("waffle_flag", SHADOW, "--percent", "7", "--reason", "")
    run("waffle_flag", SHADOW, "--percent", "7", "--reason", "less load")
    change = Change.objects.latest("revision")
    assert (change.reason, change.after) == ("less load", {"percents": {SHADOW: "7"}})
    assert "Share of compared lookups" in run("rollout", "history", "--limit", "1")


@pytest.mark.django_db
def test_no_user_is_special(phases: Phases, superadmin: User) -> None:
    phases(100, 100, 99)
    Flag.objects.update(superusers=True, staff=True, authenticated=True)
    flag = Flag.objects.get(name=PHASES[2])
    Flag.users.through.objects.create(flag=flag, user=superadmin)
    assert not flag.is_active_for_user(superadmin)


@pytest.mark.django_db
def test_the_admin_shows_what_was_refused_late(
    phases: Phases, superadmin: User, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form was valid, and somebody was quicker."""
    phases(100, 100, 5)
    change("set", phase=3, percent=4)
    monkeypatch.setattr(ChangeRequestForm, "clean", lambda form: form.cleaned_data)
    client.force_login(superadmin)
    path = f"/admin/rollout/flag/{Flag.objects.get(name=PHASES[2]).pk}/change/"
    form = {"percent": "1", "reason": "r", "note": "", "expect_revision": Rollout.current().revision - 1}
    answer = client.post(path, form, follow=True)
    assert answer.status_code == 200
    assert "The rollout has changed" in "".join(map(str, answer.context["messages"]))
    assert Flag.objects.get(name=PHASES[2]).percent == 4


def at_once(work: list[Callable[[], object]]) -> list[str]:
    """Run all at once, each on a connection of its own; return the error message of each, or an empty string."""

    def run_one(action: Callable[[], object]) -> str:
        try:
            action()
        except (ChangeRefused, CommandError) as refused:
            return str(refused)
        finally:
            connection.close()
        return ""

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(run_one, work))


@pytest.mark.django_db(transaction=True)
def test_of_eight_operators_one_wins(phases: Phases) -> None:
    phases(100, 100, 50)
    change("set", phase=3, percent=40)
    revision = Rollout.current().revision
    terms = {"by": "t", "reason": "r", "expected_revision": revision}
    refusals = at_once([partial(change, "set", phase=3, percent=percent, **terms) for percent in range(1, 9)])
    assert refusals.count("") == 1
    assert all("The rollout has changed" in words for words in refusals if words)
    assert Change.objects.filter(revision=revision + 1).count() == 1
    assert Rollout.current().revision == revision + 1


@pytest.mark.django_db
def test_an_overtaken_advance_is_refused(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    phases(100, 100, 5)
    step_after = rules.step_after

    def overtaken(name: str, percent: Decimal) -> Decimal | None:
        change("set", phase=3, percent=50, by="other", reason="faster")
        return step_after(name, percent)

    monkeypatch.setattr(rules, "step_after", overtaken)
    with pytest.raises(ChangeRefused, match="The rollout has changed"):
        changes.apply(request("advance", phase=3, by="t", reason="r", is_forced=True))
    assert Flag.objects.get(name=PHASES[2]).percent == 50


@pytest.mark.django_db(transaction=True)
def test_an_emergency_wins_over_concurrent_changes(phases: Phases) -> None:
    phases(100, 100, 50)
    refusals = at_once(
        [
            *[lambda: change("set", phase=3, percent=75, by="t", reason="r", is_forced=True)] * 3,
            lambda: change("emergency"),
            lambda: change("emergency", by="other", reason="me too"),
            *[lambda: change("set", phase=3, percent=100, by="t", reason="r", is_forced=True)] * 3,
        ]
    )
    assert refusals[3] == refusals[4] == ""
    assert decide(None).reason == "KILLED"
    assert {flag.percent for flag in Flag.objects.filter(name__in=PHASES)} == {0}
    assert Change.objects.filter(action="emergency").count() == 1
    revisions = list(Change.objects.values_list("revision", flat=True))
    assert len(revisions) == len(set(revisions))


@pytest.mark.django_db
def test_the_controller_checks_again_after_a_wrong_clock(phases: Phases, redis: object) -> None:
    # Before phase 3 it would send a synthetic update.
    phases(100, 100, 5)
    GateCheck.objects.create(phase=0, gate="tripwire", verdict=Verdict.PASS, at=timezone.now() + timedelta(days=1))
    controller.run()
    assert GateCheck.objects.filter(gate="tripwire").count() == 2


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize(
    "at", ["2028-02-29T23:59:59+00:00", "2027-03-28T01:30:00+01:00", "2026-12-31T23:59:59.999999+00:00"]
)
def test_a_planned_step_fires_on_the_edge_and_not_before(phases: Phases, university: University, at: str) -> None:
    phases(100, 100, 5)
    due = datetime.fromisoformat(at).astimezone(UTC)
    with time_machine.travel(due - timedelta(days=1), tick=False):
        run("rollout", "schedule", "--phase", "3", "--percent", "1", "--at", at, "--reason", "r")
    with time_machine.travel(due - timedelta(milliseconds=1), tick=False):
        assert controller.run()[0] == "0 planned steps"
    with time_machine.travel(due, tick=False):
        assert controller.run()[0] == "1 planned step"
    assert Flag.objects.get(name=PHASES[2]).percent == 1


@pytest.mark.django_db
def test_a_rule_that_is_over_is_refused(phases: Phases, university: University) -> None:
    for until in ("2020-01-01T00:00", "0s"):
        with pytest.raises(CommandError, match="in the past"):
            run("rollout", "university", "deny", "--id", str(university.pk), "--until", until, "--reason", "r")
    over = UniversityRule(university_id=1, reason="r", expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(ChangeRefused, match="expiry is in the past"):
        change("scope", rule=over)
    assert not UniversityRule.objects.exists()
