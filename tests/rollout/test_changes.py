"""Every surface keeps the same rules in the same words, and leaves one audit row."""

import io
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient
from waffle.models import Switch
from waffle.testutils import override_switch

from employees.models import University
from profiles.rollout import changes
from profiles.rollout.decision import decide, forget_state
from profiles.rollout.models import EMERGENCY_STOP, PHASES, Change, Flag, Plan, Rollout, Scope
from profiles.rollout.rules import ChangeRefused, Order
from tests.conftest import Phases

ORDER = Order("tester", "because")
PHONE = "+79161234567"

pytestmark = pytest.mark.django_db


def percents() -> list[float]:
    stored = {flag.name: flag.percent for flag in Flag.objects.all()}
    return [float(stored[name]) for name in PHASES]


def command(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def by_function(phase: int, percent: str) -> None:
    changes.set_percent(phase, percent, ORDER)


def by_command(phase: int, percent: str) -> None:
    command("rollout", "set", "--phase", str(phase), f"--percent={percent}", "--reason", "r", "--force")


def by_waffle_flag(phase: int, percent: str) -> None:
    command("waffle_flag", PHASES[phase - 1], f"--percent={percent}", "--reason", "r", "--force")


def by_save(phase: int, percent: str) -> None:
    flag = Flag.objects.get(name=PHASES[phase - 1])
    flag.percent = percent
    flag.save()


def by_api(phase: int, percent: str) -> None:
    client = APIClient()
    client.force_authenticate(User.objects.get(username="root"))
    body = {"phase": phase, "percent": percent, "reason": "r", "force": True}
    answer = client.post("/monitoring/rollout/set", body, format="json")
    if answer.status_code != 200:
        assert answer.status_code == 400
        raise ChangeRefused(answer.json()["error"]["message"])


def by_admin(phase: int, percent: str) -> None:
    client = Client()
    client.force_login(User.objects.get(username="root"))
    flag = Flag.objects.get(name=PHASES[phase - 1])
    form = {"percent": percent, "reason": "r", "force": "on", "note": ""}
    answer = client.post(f"/admin/rollout/flag/{flag.pk}/change/", form)
    if answer.status_code != 302:
        raise ChangeRefused(answer.context["adminform"].form.non_field_errors()[0])


SURFACES = [by_function, by_command, by_waffle_flag, by_save, by_api, by_admin]


@pytest.mark.parametrize("change", SURFACES)
def test_it_works_on_every_surface(phases: Phases, superadmin: User, change: Callable[[int, str], None]) -> None:
    phases(100, 100, 1)
    before = Rollout.current().revision
    change(3, "5")
    assert percents() == [100, 100, 5, 0]
    assert Rollout.current().revision == before + 1
    audit = Change.objects.get(revision=before + 1)
    assert audit.before["percents"][PHASES[2]] == "1"
    assert audit.after["percents"][PHASES[2]] == "5"
    change(3, "0.5")
    assert percents() == [100, 100, 0.5, 0]


NUMBER = "A percentage is a number from 0 to 100 with at most two decimals"
BAD = [
    ((100, 100, 5), 3, "100.01", NUMBER),
    ((100, 100, 5), 3, "-1", NUMBER),
    ((100, 100, 5), 3, "NaN", NUMBER),
    ((100, 100, 5), 3, "12.345", NUMBER),
    ((100, 100, 5), 3, "many", NUMBER),
    ((100, 100, 5), 2, "50", "Phase 2 is all or nothing: 0 or 100"),
    ((100,), 3, "1", "Phase 3 cannot be at 1 %: phase 2 is at 0 %"),
    ((100, 100, 5), 4, "25", "Phase 4 cannot be at 25 %: phase 3 is at 5 %"),
]


@pytest.mark.parametrize("change", SURFACES)
@pytest.mark.parametrize(("before", "phase", "percent", "words"), BAD)
def test_it_refuses_a_bad_change_in_the_same_words(
    phases: Phases,
    superadmin: User,
    change: Callable[[int, str], None],
    before: tuple[int, ...],
    phase: int,
    percent: str,
    words: str,
) -> None:
    phases(*before)
    was, revision = percents(), Rollout.current().revision
    with pytest.raises((ValidationError, CommandError)) as refused:
        change(phase, percent)
    assert str(refused.value) == words
    assert (percents(), Rollout.current().revision) == (was, revision)


@pytest.mark.parametrize("change", SURFACES)
def test_it_refuses_to_go_up_when_latched_or_paused(
    phases: Phases, superadmin: User, change: Callable[[int, str], None]
) -> None:
    phases(100, 100, 5)
    changes.pause(ORDER)
    with pytest.raises((ValidationError, CommandError), match="The rollout is paused"):
        change(3, "25")
    change(3, "1")
    changes.emergency(ORDER)
    with pytest.raises((ValidationError, CommandError), match="The emergency stop is latched: only “rollout resume"):
        change(3, "10")
    assert decide(PHONE).reason == "KILLED"


def test_lowering_takes_the_deeper_phases_along(phases: Phases) -> None:
    phases(100, 100, 50, 25)
    changes.set_percent(3, 10, ORDER)
    assert percents() == [100, 100, 10, 10]
    changes.set_percent(1, 0, ORDER)
    assert percents() == [0, 0, 0, 0]
    assert Change.objects.filter(by="tester").count() == 2


def test_a_dry_run_writes_nothing(phases: Phases) -> None:
    phases(100, 100, 50)
    revision = Rollout.current().revision
    outcome = changes.set_percent(2, 0, Order("tester", "what if", is_dry_run=True))
    assert [(name, after) for name, _, after in outcome.differences()] == [(PHASES[1], "0"), (PHASES[2], "0")]
    assert (percents(), Rollout.current().revision) == ([100, 100, 50, 0], revision)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "a\0"])
def test_it_refuses_without_a_reason(phases: Phases, reason: str) -> None:
    phases(100, 100, 5)
    with pytest.raises(ChangeRefused, match="A reason"):
        changes.set_percent(3, 1, Order("tester", reason))


def test_it_refuses_what_somebody_else_changed_meanwhile(phases: Phases) -> None:
    phases(100, 100, 5)
    revision = Rollout.current().revision
    changes.set_percent(3, 4, Order("tester", "first", expected_revision=revision))
    with pytest.raises(ChangeRefused, match="Somebody else changed the rollout"):
        changes.set_percent(3, 3, Order("tester", "second", expected_revision=revision))


def test_the_audit_only_grows(phases: Phases) -> None:
    phases(100, 100, 5)
    changes.set_percent(3, 1, ORDER)
    for statement in ("UPDATE rollout_change SET reason = 'x'", "DELETE FROM rollout_change"):
        with pytest.raises(IntegrityError, match="never edited"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_emergency_and_resume(phases: Phases) -> None:
    phases(100, 100, 50, 25)
    plan = changes.plan(4, 50, timezone.now(), ORDER)
    first = changes.emergency(ORDER)
    assert first.is_change
    assert percents() == [0, 0, 0, 0]
    assert not Switch.objects.get(name="webhook_processing").active
    assert Plan.objects.get(pk=plan.pk).state == "dropped"
    revision = Rollout.current().revision
    assert not changes.emergency(ORDER).is_change
    assert Rollout.current().revision == revision
    changes.resume(ORDER)
    assert percents() == [100, 100, 1, 0]
    assert Switch.objects.get(name="webhook_processing").active
    assert not Switch.objects.get(name=EMERGENCY_STOP).active
    assert not changes.resume(ORDER).is_change


def test_a_bare_switch_becomes_an_emergency_and_is_resumed(phases: Phases) -> None:
    phases(100, 100, 50)
    with override_switch(EMERGENCY_STOP, active=True):
        forget_state()
        assert decide(PHONE).reason == "KILLED"
    Switch.objects.filter(name=EMERGENCY_STOP).update(active=True)
    assert changes.emergency(ORDER).is_change
    assert percents() == [0, 0, 0, 0]
    changes.resume(ORDER)
    assert percents() == [100, 100, 1, 0]
    Switch.objects.filter(name=EMERGENCY_STOP).update(active=True)
    changes.resume(ORDER)
    assert percents() == [100, 100, 1, 0]


def test_a_resume_never_gives_more_than_there_was(phases: Phases) -> None:
    phases(100, 100)
    changes.emergency(ORDER)
    changes.resume(ORDER)
    assert percents() == [100, 100, 0, 0]


def test_only_a_resume_clears_the_latch(phases: Phases) -> None:
    phases(100, 100, 5)
    changes.emergency(ORDER)
    with pytest.raises(ChangeRefused, match="latched"):
        changes.set_switch(EMERGENCY_STOP, False, ORDER)
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
    assert answer.context["adminform"].form.non_field_errors() == ["A reason is required"]
    assert client.post(path, {"reason": "off for tonight"}).status_code == 302
    assert not Switch.objects.get(name="profile_cache").active
    assert Change.objects.latest("revision").by == "root"


def test_a_universitys_rule_is_recorded(
    phases: Phases, superadmin: User, client: Client, university: University
) -> None:
    phases(100, 100, 0.01)
    client.force_login(superadmin)
    form = {"university_id": university.pk, "phase": 3, "is_allowed": "on", "reason": "pilot"}
    assert client.post("/admin/rollout/scope/add/", form).status_code == 302
    assert decide(PHONE, university.pk).reason == "ALLOWED"
    scope = Scope.objects.get()
    assert client.post(f"/admin/rollout/scope/{scope.pk}/delete/", {"post": "yes"}).status_code == 302
    assert decide(PHONE, university.pk).stage == 2
    assert [row.action for row in Change.objects.all()[:2]] == ["scope", "scope"]


@pytest.mark.parametrize("number", ["999", "-1", "9" * 18, "9" * 30, "x"])
def test_a_rule_for_no_university_is_refused(
    phases: Phases, superadmin: User, client: Client, university: University, number: str
) -> None:
    client.force_login(superadmin)
    form = {"university_id": number, "phase": 3, "is_allowed": "on", "reason": "pilot"}
    answer = client.post("/admin/rollout/scope/add/", form)
    assert "university_id" in answer.context["adminform"].form.errors
    assert not Scope.objects.exists()
    lost = Scope.objects.create(university_id=999, reason="pilot")
    assert client.post(f"/admin/rollout/scope/{lost.pk}/change/", form | {"university_id": 999}).status_code == 302


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
        "A reason is required"
    )
