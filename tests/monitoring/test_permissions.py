"""What each group may do in the admin and over HTTP."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.utils import timezone

from employees.backfill import batches
from employees.models import BackfillRun, Employee, University, UnresolvedName
from monitoring.alerts.models import Alert
from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES
from tests.conftest import Phases, client_of
from tests.webhooks.inbox_rows import row
from webhooks.models import State

pytestmark = pytest.mark.django_db
MIGRATION = import_module("monitoring.migrations.0009_permission_groups")
LATER = import_module("monitoring.migrations.0014_show_unresolved_names")
GROUPS = ("viewer", "operator", "rollout_manager", "data_protection_officer")
EVERYBODY = set(GROUPS)
OPERATORS = {"operator", "rollout_manager"}


@pytest.fixture
def places(university: University, superadmin: User) -> dict[str, Any]:
    employee = Employee.objects.create(phone="+12025550100", university=university)
    UnresolvedName.objects.create(employee=employee, next_try_at=timezone.now())
    update = row(State.DEAD)
    alert = Alert.objects.create(kind="dead_letters", severity="warning", message="m", words={"count": 1})
    return {
        "employee": employee.pk,
        "update": update.pk,
        "alert": alert.pk,
        "run": batches.start().pk,
        "done": BackfillRun.objects.create(status="done", until_id=0).pk,
        "university": university.pk,
    }


GET, POST = "get", "post"
# The method, the path, the form, and the groups that may.
ACTIONS: dict[str, tuple[str, str, dict[str, Any], set[str]]] = {
    "see employees": (GET, "employees/employee/", {}, EVERYBODY),
    "add an employee": (GET, "employees/employee/add/", {}, {"operator"}),
    "change an employee": (POST, "employees/employee/{employee}/change/", {"phone": "x"}, {"operator"}),
    "delete an employee": (GET, "employees/employee/{employee}/delete/", {}, set()),
    "see an employee's history": (GET, "employees/employee/{employee}/history/", {}, EVERYBODY),
    "import employees": (GET, "employees/employee/import/", {}, {"operator"}),
    "export employees": (GET, "employees/employee/export/", {}, {"operator", "data_protection_officer"}),
    "see universities": (GET, "employees/university/", {}, EVERYBODY),
    "change a university": (POST, "employees/university/{university}/change/", {"name": ""}, {"operator"}),
    "see a backfill": (GET, "employees/backfillrun/{run}/change/", {}, EVERYBODY),
    "see its progress": (GET, "employees/backfillrun/{run}/progress/", {}, EVERYBODY),
    "pause a backfill": (GET, "employees/backfillrun/{run}/do/pause/", {}, OPERATORS),
    "undo a backfill": (GET, "employees/backfillrun/{done}/do/undo/", {}, OPERATORS),
    "see unresolved names": (GET, "employees/unresolvedname/", {}, EVERYBODY),
    "see an unresolved name": (GET, "employees/unresolvedname/{employee}/change/", {}, EVERYBODY),
    "forget an unresolved name": (GET, "employees/unresolvedname/{employee}/delete/", {}, set()),
    "see the inbox": (GET, "webhooks/inboxupdate/", {}, EVERYBODY),
    "see an update": (GET, "webhooks/inboxupdate/{update}/change/", {}, EVERYBODY),
    "see dead letters": (GET, "webhooks/inboxupdate/dead-letters/", {}, EVERYBODY),
    "replay": (GET, "webhooks/inboxupdate/replay/?state__exact=dead", {}, OPERATORS),
    "see a body": (GET, "webhooks/inboxupdate/{update}/raw-body/", {}, {"data_protection_officer"}),
    "see replays": (GET, "webhooks/replay/", {}, EVERYBODY - {"viewer"}),
    "see payload accesses": (GET, "webhooks/payloadaccess/", {}, {"data_protection_officer"}),
    "see erasures": (GET, "profiles/erasure/", {}, {"data_protection_officer"}),
    "see profiles": (GET, "profiles/profile/", {}, EVERYBODY),
    "change a profile": (GET, "profiles/profile/add/", {}, set()),
    "see alerts": (GET, "monitoring/alert/{alert}/change/", {}, EVERYBODY),
    "answer an alert": (GET, "monitoring/alert/{alert}/answer/mute/", {}, OPERATORS),
    "see the audit log": (GET, "audit/", {}, EVERYBODY - {"viewer"}),
    "sign the checklist": (GET, "monitoring/signature/add/", {}, {"rollout_manager"}),
    "make a rule for a university": (GET, "rollout/universityrule/add/", {}, {"rollout_manager"}),
    "see users": (GET, "auth/user/", {}, set()),
    "see groups": (GET, "auth/group/", {}, set()),
}
# The permissions of pages that have tests of their own.
HELD = {
    "rollout.operate_rollout": {"rollout_manager"},
    "rollout.force_rollout": {"rollout_manager"},
    "rollout.stop_rollout": OPERATORS,
    "rollout.change_flag": {"rollout_manager"},
    "waffle.change_switch": {"rollout_manager"},
    "monitoring.view_screens": EVERYBODY,
    "monitoring.look_up_person": EVERYBODY - {"viewer"},
    "profiles.delete_profile": {"data_protection_officer"},
    "profiles.view_comparison": EVERYBODY,
}


def member(group: str) -> User:
    user = User.objects.create_user(group, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return User.objects.get(pk=user.pk)


@pytest.mark.usefixtures("shared_round")
@pytest.mark.parametrize("group", GROUPS)
def test_it_works(group: str, places: dict[str, Any]) -> None:
    client = Client()
    client.force_login(member(group))
    client.cookies["django_language"] = "en"
    wrong = []
    for name, (method, path, form, who) in ACTIONS.items():
        ask: Callable[..., Any] = getattr(client, method)
        status = ask(f"/admin/{path.format(**places)}", form).status_code
        if (status == 200) != (group in who):
            wrong.append(f"{name}: {status}")
        assert status in (200, 403, 404), name
    assert not wrong


@pytest.mark.parametrize("group", GROUPS)
def test_the_groups_hold_their_permissions(group: str) -> None:
    user = member(group)
    assert {name: user.has_perm(name) for name in HELD} == {name: group in who for name, who in HELD.items()}


ROLLOUT_ACTIONS = {
    "set": {"rollout_manager"},
    "advance": {"rollout_manager"},
    "pause": {"rollout_manager"},
    "resume": {"rollout_manager"},
    "emergency": OPERATORS,
}


@pytest.mark.parametrize("group", [*GROUPS, ""])
def test_http_changes_of_the_rollout_need_the_same_permissions(group: str, phases: Phases) -> None:
    client = client_of(member(group) if group else User.objects.create_user("nobody", is_staff=True))
    body = {"phase": 1, "percent": "100", "reason": "r", "dry_run": True}
    allowed = {
        action
        for action in ROLLOUT_ACTIONS
        # 400 is the refusal of a gate, after the check of the permission.
        if client.post(f"/monitoring/rollout/{action}", body, format="json").status_code in (200, 400)
    }
    assert allowed == {action for action, who in ROLLOUT_ACTIONS.items() if group in who}


@pytest.fixture
def unforced(phases: Phases) -> User:
    """A user who may operate the rollout and change its flags, but may not force gates."""
    phases(100, 100)
    user = User.objects.create_user("careful", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("operate_rollout", "change_flag", "view_flag")))
    return user


def test_force_over_http_needs_its_own_permission(unforced: User, superadmin: User) -> None:
    path, body = "/monitoring/rollout/set", {"phase": 3, "percent": "5", "reason": "r", "force": True}
    refused = client_of(unforced).post(path, body, format="json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert "while gates do not pass" in refused.json()["error"]["message"]
    assert Flag.objects.get(name=PHASES[2]).percent == 0
    assert client_of(superadmin).post(path, body, format="json").status_code == 200


def test_force_in_the_admin_needs_the_same_permission(unforced: User, superadmin: User) -> None:
    flag = Flag.objects.get(name=PHASES[2])
    path, form = f"/admin/rollout/flag/{flag.pk}/change/", {"percent": "5", "reason": "r", "force": "on", "note": ""}
    client = Client()
    client.force_login(unforced)
    assert client.post(path, form).status_code == 200
    assert Flag.objects.get(pk=flag.pk).percent == 0
    client.force_login(superadmin)
    assert client.post(path, form).status_code == 302


def test_staff_without_a_group_may_nothing(places: dict[str, Any]) -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    for name, (method, path, form, _) in ACTIONS.items():
        assert getattr(client, method)(f"/admin/{path.format(**places)}", form).status_code in (403, 404), name


def test_every_permission_of_a_group_exists() -> None:
    """The migration would create a misspelt permission."""
    for group in Group.objects.filter(name__in=GROUPS):
        for permission in group.permissions.select_related("content_type"):
            model = permission.content_type.model_class()
            assert model is not None, permission
            own = {name for name, _ in model._meta.permissions}
            usual = {f"{verb}_{model._meta.model_name}" for verb in model._meta.default_permissions}
            assert permission.codename in own | usual, permission


def test_the_migration_can_be_repeated_and_reversed() -> None:
    held = {group.name: group.permissions.count() for group in Group.objects.filter(name__in=GROUPS)}
    total = Permission.objects.count()
    for model, former in {"cachedstatistic": "keptfigure", "universityrule": "scope", "duplicatedelivery": "repeat",
                          "payloadaccess": "rawlook"}.items():  # fmt: skip
        ContentType.objects.filter(model=model).update(model=former)
    MIGRATION.create_groups(apps, None)
    LATER.give(apps, None)
    assert {group.name: group.permissions.count() for group in Group.objects.filter(name__in=GROUPS)} == held
    LATER.take(apps, None)
    MIGRATION.take_permissions(apps, None)
    assert not Permission.objects.filter(group__name__in=GROUPS).exists()
    assert Permission.objects.count() == total
