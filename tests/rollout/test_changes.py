"""What each change does, and what the audit records."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework.test import APIClient
from waffle.models import Switch
from waffle.testutils import override_switch

from employees.models import University
from profiles.rollout import changes, rules
from profiles.rollout.decision import decide, forget_state
from profiles.rollout.models import Change, Flag, Plan, Rollout, UniversityRule
from profiles.rollout.phases import EMERGENCY_STOP, PHASES
from profiles.rollout.rules import ChangeRefused
from tests.conftest import Phases
from tests.rollout.changing import change, plan_step, request

PHONE = "+79161234567"

pytestmark = pytest.mark.django_db


def percents() -> list[float]:
    stored = {flag.name: flag.percent for flag in Flag.objects.all()}
    return [float(stored[name]) for name in PHASES]


def test_lowering_takes_the_deeper_phases_along(phases: Phases) -> None:
    phases(100, 100, 50, 25)
    change("set", phase=3, percent=10)
    assert percents() == [100, 100, 10, 10]
    change("set", phase=1, percent=0)
    assert percents() == [0, 0, 0, 0]
    assert Change.objects.filter(by="tester").count() == 2


def test_a_pause_does_not_move_a_phase_that_is_overridden(phases: Phases) -> None:
    phases(100, 100, 5)
    Flag.objects.filter(name=PHASES[2]).update(everyone=False)
    before = Flag.objects.get(name=PHASES[2]).moved_at
    change("pause")
    assert Flag.objects.get(name=PHASES[2]).moved_at == before
    change("resume")
    change("set", phase=3, percent=5)
    flag = Flag.objects.get(name=PHASES[2])
    assert (flag.everyone, flag.moved_at > before) == (None, True)


@pytest.mark.parametrize("percent", [5, 1])
def test_a_phase_that_is_off_is_turned_on_only_as_a_raise(phases: Phases, percent: int) -> None:
    phases(100, 100, 5)
    Flag.objects.filter(name=PHASES[2]).update(everyone=False)
    with pytest.raises(changes.GatesNotPassed):
        changes.apply(request("set", phase=3, percent=percent))
    change("pause")
    with pytest.raises(ChangeRefused, match="The rollout is paused"):
        change("set", phase=3, percent=percent)
    flag = Flag.objects.get(name=PHASES[2])
    flag.everyone = None
    with pytest.raises(ChangeRefused, match="The rollout is paused"):
        flag.save()
    change("set", phase=3, percent=0)
    assert Flag.objects.get(name=PHASES[2]).everyone is None


def test_no_rule_admits_a_university_while_paused(phases: Phases, university: University) -> None:
    denial = UniversityRule(university_id=university.pk, phase=3, expires_at=timezone.now() + timedelta(days=2))
    change("scope", rule=denial)
    change("pause")
    permission = UniversityRule(university_id=university.pk, phase=4, is_allowed=True)
    shorter = UniversityRule.objects.get()
    shorter.expires_at = timezone.now() + timedelta(days=1)
    for what in ({"rule": permission}, {"rule": denial, "is_on": False}, {"rule": shorter}):
        with pytest.raises(ChangeRefused, match="The rollout is paused"):
            change("scope", **what)
    longer = UniversityRule.objects.get()
    longer.expires_at = None
    change("scope", rule=longer)
    change("scope", rule=UniversityRule(university_id=university.pk, phase=4))
    change("resume")
    change("scope", rule=denial, is_on=False)
    assert UniversityRule.objects.get().phase == 4


def test_a_lowering_is_never_forced(phases: Phases) -> None:
    phases(100, 100, 5)
    changes.apply(request("set", phase=3, percent=1, is_forced=True))
    assert not Change.objects.latest("pk").is_forced


def test_a_dry_run_writes_nothing(phases: Phases) -> None:
    phases(100, 100, 50)
    revision = Rollout.current().revision
    outcome = change("set", phase=2, percent=0, reason="what if", is_dry_run=True)
    assert [(name, after) for name, _, after in outcome.differences()] == [(PHASES[1], "0"), (PHASES[2], "0")]
    assert (percents(), Rollout.current().revision) == ([100, 100, 50, 0], revision)


def test_a_dry_run_leaves_it_to_its_caller_how_the_transaction_commits(phases: Phases) -> None:
    with connection.cursor() as cursor:
        change("set", phase=2, percent=0, is_dry_run=True)
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)
        change("set", phase=2, percent=0)
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("local",)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "\0\u200b"])
def test_it_refuses_without_a_reason(phases: Phases, reason: str) -> None:
    phases(100, 100, 5)
    with pytest.raises(ChangeRefused, match="A reason"):
        change("set", phase=3, percent=1, reason=reason)


def test_it_refuses_what_somebody_else_changed_meanwhile(phases: Phases) -> None:
    phases(100, 100, 5)
    revision = Rollout.current().revision
    change("set", phase=3, percent=4, reason="first", expected_revision=revision)
    with pytest.raises(ChangeRefused, match="The rollout has changed"):
        change("set", phase=3, percent=3, reason="second", expected_revision=revision)


def test_the_audit_only_grows(phases: Phases) -> None:
    phases(100, 100, 5)
    change("set", phase=3, percent=1)
    for statement in ("UPDATE rollout_change SET reason = 'x'", "DELETE FROM rollout_change"):
        with pytest.raises(IntegrityError, match="never edited"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_emergency_and_resume(phases: Phases) -> None:
    phases(100, 100, 50, 25)
    plan = plan_step(4, 50, timezone.now())
    first = change("emergency")
    assert first.is_change
    assert percents() == [0, 0, 0, 0]
    assert not Switch.objects.get(name="webhook_processing").active
    assert Plan.objects.get(pk=plan.pk).state == "dropped"
    revision = Rollout.current().revision
    assert not change("emergency").is_change
    assert Rollout.current().revision == revision
    change("resume")
    assert percents() == [100, 100, 1, 0]
    assert Switch.objects.get(name="webhook_processing").active
    assert not Switch.objects.get(name=EMERGENCY_STOP).active
    assert not change("resume").is_change


def test_a_bare_switch_becomes_an_emergency_and_is_resumed(phases: Phases) -> None:
    phases(100, 100, 50)
    with override_switch(EMERGENCY_STOP, active=True):
        forget_state()
        assert decide(PHONE).reason == "KILLED"
    Switch.objects.filter(name=EMERGENCY_STOP).update(active=True)
    assert change("emergency").is_change
    assert percents() == [0, 0, 0, 0]
    change("resume")
    assert percents() == [100, 100, 1, 0]
    Switch.objects.filter(name=EMERGENCY_STOP).update(active=True)
    change("resume")
    assert percents() == [100, 100, 1, 0]


def test_a_resume_never_gives_more_than_there_was(phases: Phases) -> None:
    phases(100, 100)
    change("emergency")
    change("resume")
    assert percents() == [100, 100, 0, 0]


def test_only_a_resume_clears_the_latch(phases: Phases) -> None:
    phases(100, 100, 5)
    change("emergency")
    with pytest.raises(ChangeRefused, match="The emergency stop is on"):
        change("switch", switch=EMERGENCY_STOP, is_on=False)
    for clear in (
        lambda: Switch.objects.get(name=EMERGENCY_STOP).delete(),
        lambda: Switch.objects.filter(name=EMERGENCY_STOP).update(active=False),
        lambda: Switch.objects.filter(name=EMERGENCY_STOP).delete(),
    ):
        with pytest.raises(DatabaseError, match="latched"), transaction.atomic():
            clear()
    assert decide(PHONE).reason == "KILLED"


def test_a_switch_by_the_admin_needs_a_reason(phases: Phases, superadmin: User, client: Client) -> None:
    client.force_login(superadmin)
    path = f"/admin/waffle/switch/{Switch.objects.get(name='profile_cache').pk}/change/"
    answer = client.post(path, {"reason": ""})
    assert answer.context["adminform"].form.non_field_errors() == ["A reason is required."]
    assert client.post(path, {"reason": "off for tonight"}).status_code == 302
    assert not Switch.objects.get(name="profile_cache").active
    assert Change.objects.latest("revision").by == "root"


def test_a_universitys_rule_is_recorded(
    phases: Phases, superadmin: User, client: Client, university: University
) -> None:
    phases(100, 100, 0.01)
    client.force_login(superadmin)
    form = {"university_id": university.pk, "phase": 3, "is_allowed": "on", "reason": "pilot"}
    assert client.post("/admin/rollout/universityrule/add/", form).status_code == 302
    assert decide(PHONE, university.pk).reason == "ALLOWED"
    rule = UniversityRule.objects.get()
    assert client.post(f"/admin/rollout/universityrule/{rule.pk}/delete/", {"post": "yes"}).status_code == 302
    assert decide(PHONE, university.pk).stage == 2
    assert [row.action for row in Change.objects.all()[:2]] == ["scope", "scope"]


@pytest.mark.long
@pytest.mark.parametrize("number", ["999", "-1", "9" * 18, "9" * 30, "x"])
def test_a_rule_for_no_university_is_refused(
    phases: Phases, superadmin: User, client: Client, university: University, number: str
) -> None:
    client.force_login(superadmin)
    form = {"university_id": number, "phase": 3, "is_allowed": "on", "reason": "pilot"}
    answer = client.post("/admin/rollout/universityrule/add/", form)
    assert "university_id" in answer.context["adminform"].form.errors
    assert not UniversityRule.objects.exists()
    lost = UniversityRule.objects.create(university_id=999, reason="pilot")
    assert (
        client.post(f"/admin/rollout/universityrule/{lost.pk}/change/", form | {"university_id": 999}).status_code
        == 302
    )


def test_the_api_says_that_the_phase_is_missing(phases: Phases, api: APIClient) -> None:
    answer = api.post("/monitoring/rollout/set", {"percent": "5", "reason": "x"}, format="json")
    assert answer.status_code == 400
    assert answer.json()["error"]["details"] == {"phase": ["This field is required."]}
    assert api.post("/monitoring/rollout/pause", {"reason": "x"}, format="json").status_code == 200


def test_the_api_is_for_staff(phases: Phases, api: APIClient) -> None:
    reader = APIClient()
    reader.force_authenticate(User.objects.create_user("reader"))
    assert reader.post("/monitoring/rollout/emergency", {"reason": "x"}, format="json").status_code == 403
    assert APIClient().post("/monitoring/rollout/pause", {"reason": "x"}, format="json").status_code == 401
    phases(100, 100, 5)
    stopped = api.post("/monitoring/rollout/emergency", {"reason": "x"}, format="json").json()
    assert stopped["percents"] == dict.fromkeys(PHASES, 0.0)
    assert stopped["verification"][0].startswith("probe lookup")
    assert api.get("/monitoring/rollout").json()["is_stopped"]
    assert api.post("/monitoring/rollout/resume", {"reason": "x"}, format="json").json()["percents"][PHASES[2]] == 1
    assert api.post("/monitoring/rollout/pause", {"reason": ""}, format="json").json()["error"]["message"] == (
        "A reason is required."
    )


@given(st.from_regex(rules.PERCENTAGE, fullmatch=True))
def test_a_percentage_in_the_published_form_is_read(text: str) -> None:
    assert rules.percentage(f" {text} ") == Decimal(text.replace(",", "."))


@given(
    st.from_regex(r"[-+0-9_e.,\u0660-\u0669]{1,5}", fullmatch=True).filter(lambda t: not rules.PERCENTAGE.fullmatch(t))
)
@example("1_0")
@example("1e1")
@example("\u0665")
@example("-0")
def test_no_other_form_of_a_number_is_a_percentage(text: str) -> None:
    with pytest.raises(ChangeRefused, match="A percentage must be"):
        rules.percentage(text)


@pytest.mark.parametrize("percent", [Decimal("1E+1"), 10, 10.0, "10,00"])
def test_ten_percent(percent: object) -> None:
    assert rules.percentage(percent) == 10
