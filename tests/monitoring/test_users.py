"""Users cannot be deleted in the admin, and the groups that the code names can be neither renamed nor deleted."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from profiles.rollout import presenters

pytestmark = pytest.mark.django_db
USERS, GROUPS = "/admin/auth/user/", "/admin/auth/group/"


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def test_it_works(admin: Client) -> None:
    user = User.objects.create_user("anna")
    page = admin.get(f"{USERS}{user.pk}/change/").content.decode()
    assert "Unselect this instead of deleting accounts." in page
    assert f"{user.pk}/delete/" not in page
    assert "rollout manager" in page
    assert "rollout: Can view changes" in page


def test_it_refuses_to_delete_users(admin: Client) -> None:
    user = User.objects.create_user("anna")
    assert admin.post(f"{USERS}{user.pk}/delete/", {"post": "yes"}).status_code == 403
    admin.post(USERS, {"action": "delete_selected", "_selected_action": [user.pk], "post": "yes"})
    assert User.objects.filter(pk=user.pk).exists()


@pytest.mark.parametrize("name", presenters.ROLES)
def test_it_refuses_to_rename_or_delete_built_in_groups(admin: Client, name: str) -> None:
    group = Group.objects.get_or_create(name=name)[0]
    page = admin.get(f"{GROUPS}{group.pk}/change/").content.decode()
    assert 'name="name"' not in page
    assert "you cannot rename or delete it" in page
    admin.post(f"{GROUPS}{group.pk}/change/", {"name": "other", "permissions": []})
    assert admin.post(f"{GROUPS}{group.pk}/delete/", {"post": "yes"}).status_code == 403
    admin.post(GROUPS, {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"})
    assert Group.objects.filter(pk=group.pk, name=name).exists()


def test_other_groups_are_renamed_and_deleted(admin: Client) -> None:
    admin.post(f"{GROUPS}add/", {"name": "auditors"})
    group = Group.objects.get(name="auditors")
    admin.post(f"{GROUPS}{group.pk}/change/", {"name": "inspectors"})
    group.refresh_from_db()
    assert group.name == "inspectors"
    assert admin.post(f"{GROUPS}{group.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Group.objects.filter(pk=group.pk).exists()
