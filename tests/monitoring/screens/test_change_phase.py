"""Change the rollout on the admin's pages: the same rules, messages and audit as by command."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from monitoring.dashboard.actions import confirmation
from monitoring.rollout_control.models import Signature
from profiles.rollout.heartbeat import heartbeat_thread
from profiles.rollout.models import Change, Flag, Plan, Rollout
from profiles.rollout.phases import PHASES
from profiles.rollout.rollout_settings import RolloutSettings
from tests.conftest import Phases

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

STEP = "/admin/steer/3/"


def percent(phase: int) -> int:
    return int(Flag.objects.get(name=PHASES[phase - 1]).percent)


def given(**fields: str) -> dict[str, str]:
    return {"revision": str(Rollout.current().revision), "reason": "проверено", **fields}


def test_it_works(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    answer = operator.post(STEP, given(percent="5"))
    assert answer["Location"] == "/admin/rollout/"
    change = Change.objects.first()
    assert change is not None
    assert (percent(3), change.by, change.reason, change.is_forced) == (5, "root", "проверено", False)
    assert "25" in operator.get("/admin/rollout/").content.decode()


def test_a_step_past_its_gates_is_refused(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    answer = operator.post(STEP, given(percent="50"))
    assert answer.status_code == 200
    assert b'role="alert"' in answer.content
    assert percent(3) == 25


def test_it_is_forced_with_permission(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    operator.post(STEP, given(percent="50", force="on"))
    change = Change.objects.first()
    assert change is not None
    assert (percent(3), change.is_forced) == (50, True)


def test_it_is_not_forced_without_permission(client: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    person = User.objects.create_user("operator", is_staff=True)
    person.user_permissions.add(*Permission.objects.filter(codename__in=("operate_rollout", "view_rollout")))
    client.force_login(person)
    client.post(STEP, given(percent="50", force="on"))
    assert percent(3) == 25
    assert client.get("/admin/emergency/").status_code == 403
    assert client.post("/admin/emergency/", given(word="STOP")).status_code == 403


@pytest.mark.parametrize("path", [STEP, "/admin/steer/pause/", "/admin/steer/resume/"])
def test_a_viewer_changes_nothing(client: Client, phases: Phases, path: str) -> None:
    phases(100, 100, 25)
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_rollout"))
    client.force_login(viewer)
    assert client.post(path, given(percent="5")).status_code == 403
    assert percent(3) == 25


def test_it_refuses_after_another_change(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    form = given(percent="5")
    operator.post("/admin/steer/pause/", given())
    answer = operator.post(STEP, form)
    assert b'role="alert"' in answer.content
    assert percent(3) == 25


@pytest.mark.parametrize("fields", [{"reason": ""}, {"percent": "<b>"}, {"percent": "101"}, {"percent": ""}])
def test_it_refuses_nonsense(operator: Client, phases: Phases, fields: dict[str, str]) -> None:
    phases(100, 100, 25)
    answer = operator.post(STEP, given(percent="5") | fields)
    assert answer.status_code == 200
    assert b'role="alert"' in answer.content or not fields.get("percent", "5")
    assert percent(3) == 25


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (STEP, {"percent": "5"}),
        ("/admin/steer/pause/", {}),
        ("/admin/steer/resume/", {}),
        (
            "/admin/steer/plan/",
            {"phase": "3", "percent": "50", "due_at": f"{timezone.localtime() + timedelta(days=1):%Y-%m-%dT%H:%M}"},
        ),
        ("/admin/steer/on-breach/", {"on_breach": "roll-back"}),
        ("/admin/emergency/", {}),
    ],
)
def test_it_refuses_an_altered_revision(operator: Client, phases: Phases, path: str, fields: dict[str, str]) -> None:
    phases(100, 100, 25)
    before = Rollout.current().revision
    for revision in ("9" * 5000, "1e3", "-1"):
        answer = operator.post(path, given(word=confirmation(), **fields) | {"revision": revision})
        assert (answer.status_code, Rollout.current().revision) == (200, before), revision[:9]
        assert "A revision must be a whole number of at most 19 digits." in answer.content.decode()
        assert not Plan.objects.exists()


@pytest.mark.parametrize("path", ["/admin/steer/0/", "/admin/steer/5/", "/admin/steer/nonsense/"])
def test_there_are_four_phases(operator: Client, path: str) -> None:
    assert operator.get(path).status_code == 404


def test_it_is_paused_and_resumed(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    operator.post("/admin/steer/pause/", given())
    assert Rollout.current().is_paused
    assert b"s-banner-wait" in operator.get("/admin/").content
    operator.post("/admin/steer/resume/", given())
    assert not Rollout.current().is_paused


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("steady_heartbeats")
def test_the_emergency_stop_shows_how_long_it_took(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    heartbeat_thread.start("web")
    content = operator.post("/admin/emergency/", given(word=confirmation().lower())).content.decode()
    assert {percent(number) for number in (1, 2, 3, 4)} == {0}
    assert "s-badge-good" in content
    operator.post("/admin/steer/resume/", given())
    assert [percent(number) for number in (1, 2, 3, 4)] == [100, 100, 1, 0]


@pytest.mark.parametrize("fields", [{"word": ""}, {"word": "yes"}, {"word": confirmation(), "reason": " "}])
def test_the_emergency_stop_requires_the_word_and_a_reason(
    operator: Client, phases: Phases, fields: dict[str, str]
) -> None:
    phases(100, 100, 25)
    assert b'role="alert"' in operator.post("/admin/emergency/", given() | fields).content
    assert percent(3) == 25


def test_the_checklist_is_signed(operator: Client) -> None:
    operator.post("/admin/checklist/", {"item": "backup_database", "note": "pg_dump, 14:00"})
    assert Signature.objects.get().by.username == "root"
    operator.post("/admin/checklist/", {"item": "backup_database", "note": " "})
    operator.post("/admin/checklist/", {"item": "nonsense", "note": "x"})
    assert Signature.objects.count() == 1
    assert "pg_dump, 14:00" in operator.get("/admin/checklist/items/").content.decode()


def test_who_may_only_stop_sees_no_percentages(phases: Phases) -> None:
    phases(100, 100, 25)
    user = User.objects.create_user("stopper", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="stop_rollout"))
    client = Client()
    client.force_login(user)
    asked = client.get("/admin/emergency/")
    stale = client.post("/admin/emergency/", given(word="STOP", revision="987654"))
    stopped = client.post("/admin/emergency/", given(word="STOP"))
    assert RolloutSettings.read(Rollout.current()).is_latched
    assert "verified: the stop has taken effect everywhere" in stopped.content.decode()
    assert "The rules or gates of the rollout do not allow this change." in stale.content.decode()
    for page in (asked.content.decode(), stale.content.decode(), stopped.content.decode()):
        assert "25%" not in page
        assert "revision" not in page.replace('name="revision"', "")
        assert "/admin/rollout/" not in page
