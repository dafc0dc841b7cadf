"""What each group may do; tests/access checks the pages and the API."""

from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client

from profiles.rollout.models import Flag
from profiles.rollout.phases import PHASES
from tests.conftest import Phases, client_of

pytestmark = pytest.mark.django_db
MIGRATION = import_module("monitoring.migrations.0009_permission_groups")
LATER = import_module("monitoring.migrations.0014_show_unresolved_names")
GROUPS = ("viewer", "operator", "rollout_manager", "data_protection_officer")
EVERYBODY = set(GROUPS)
OPERATORS = {"operator", "rollout_manager"}


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
def test_it_works(group: str) -> None:
    user = member(group)
    assert {name: user.has_perm(name) for name in HELD} == {name: group in who for name, who in HELD.items()}


@pytest.fixture
def unforced(phases: Phases) -> User:
    """A user who may operate the rollout and change its flags, but may not force gates."""
    phases(100, 100)
    user = User.objects.create_user("careful", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=("operate_rollout", "view_rollout", "change_flag", "view_flag"))
    )
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
