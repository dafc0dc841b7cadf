"""Users and groups: who left a trace stays, and so do the groups that the code knows by name."""

from collections.abc import Iterable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client

from employees.models import Employee, University
from profiles.rollout import presenters
from tests.rollout.changing import change
from webhooks.models import PayloadAccess

pytestmark = pytest.mark.django_db
USERS, GROUPS = "/admin/auth/user/", "/admin/auth/group/"


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def deletions(page: str, pks: Iterable[int]) -> list[tuple[str, dict[str, Any]]]:
    """Return the posts that confirm a deletion: one by one, and that of a selection last."""
    chosen: dict[str, Any] = {"action": "delete_selected", "_selected_action": list(pks), "post": "yes"}
    each: list[tuple[str, dict[str, Any]]] = [(f"{page}{pk}/delete/", {"post": "yes"}) for pk in pks]
    return [*each, (page, chosen)]


def test_it_works(admin: Client) -> None:
    left, gone = (User.objects.create_user(name, is_staff=True) for name in ("left", "gone"))
    LogEntry.objects.create(user=left, action_flag=2, object_repr="r", change_message="m")
    for path, form in deletions(USERS, [left.pk]):
        page = admin.post(path, form).content.decode()
        assert "left: their deeds are in the audit trail" in page, path
        assert "take “active” away instead" in page
        assert "Log entr" not in page
    assert (User.objects.filter(pk=left.pk).exists(), LogEntry.objects.filter(user=left).count()) == (True, 1)
    assert admin.post(f"{USERS}{gone.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=gone.pk).exists()


@pytest.mark.parametrize("trace", ["version", "change", "look"])
def test_whoever_left_another_trace_stays(admin: Client, university: University, trace: str) -> None:
    """Their rows would name the system, or whoever takes the login next."""
    user = User.objects.create_user("left", is_staff=True)
    if trace == "version":
        employee = Employee(phone="+79160000000", university=university)
        employee._history_user = user  # type: ignore[attr-defined]
        employee.save()
    elif trace == "change":
        change("switch", switch="monitoring", is_on=False, by="left", reason="a drill")
    else:
        PayloadAccess.objects.create(inbox_update_id=1, update_type="bot_started", by="left", reason="a complaint")
    assert (
        "their deeds are in the audit trail"
        in admin.post(f"{USERS}{user.pk}/delete/", {"post": "yes"}).content.decode()
    )
    assert User.objects.filter(pk=user.pk).exists()


def test_a_selection_goes_when_none_of_it_left_a_trace(admin: Client) -> None:
    some = [User.objects.create_user(name).pk for name in ("one", "two")]
    _first, _second, (path, form) = deletions(USERS, some)
    assert admin.post(path, form).status_code == 302
    assert not User.objects.filter(pk__in=some).exists()


def test_it_refuses_to_rename_or_delete_a_group_of_the_codes(admin: Client) -> None:
    for name in presenters.ROLES:
        group = Group.objects.get_or_create(name=name)[0]
        assert 'name="name"' not in admin.get(f"{GROUPS}{group.pk}/change/").content.decode()
        admin.post(f"{GROUPS}{group.pk}/change/", {"name": "other", "permissions": []})
        for path, form in deletions(GROUPS, [group.pk]):
            assert "the system knows this group by its name" in admin.post(path, form).content.decode()
        assert Group.objects.filter(pk=group.pk, name=name).exists()


def test_other_groups_are_renamed_and_deleted(admin: Client) -> None:
    admin.post(f"{GROUPS}add/", {"name": "auditors"})
    group = Group.objects.get(name="auditors")
    admin.post(f"{GROUPS}{group.pk}/change/", {"name": "inspectors"})
    group.refresh_from_db()
    assert group.name == "inspectors"
    assert admin.post(f"{GROUPS}{group.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Group.objects.filter(pk=group.pk).exists()
