"""A form that was opened before somebody else saved: accounts, groups, universities, memberships and profiles.

A form of an employee has tests of its own, tests/employees/test_stale_form.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from config.lib.admin import MergingAdmin, ReadOnlyAdmin
from employees.credentials.admin import ApiKeyAdmin
from employees.models import Membership, University
from monitoring.rollout_control.admin.gates import SignatureAdmin
from monitoring.rollout_control.admin.rollout import ChangeRequestAdmin
from profiles.models import Profile
from tests.pages import Fields, form_of
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture
def browser(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


@pytest.fixture
def user(db: None) -> User:
    created = User.objects.create_user("anna", "anna@example.org", "a password of many words")
    created.groups.add(Group.objects.get(name="viewer"))
    return created


def opened(browser: Client, path: str) -> Fields:
    return form_of(browser.get(path).content.decode())


@pytest.mark.long
def test_it_works(browser: Client, user: User) -> None:
    """An account that was closed stays closed when somebody with an older page changes the address."""
    path = f"/admin/auth/user/{user.pk}/change/"
    one, two = opened(browser, path), opened(browser, path)
    del one["is_active"]
    assert browser.post(path, one).status_code == 302
    assert browser.post(path, two | {"email": ["new@example.org"]}).status_code == 302
    hashed = user.password
    user.refresh_from_db()
    assert (user.is_active, user.email, user.password) == (False, "new@example.org", hashed)
    assert list(user.groups.values_list("name", flat=True)) == ["viewer"]


def test_the_page_does_not_contain_the_password(browser: Client, user: User) -> None:
    page = browser.get(f"/admin/auth/user/{user.pk}/change/").content.decode()
    assert "initial-password" not in page
    assert user.password not in page


def test_a_university_keeps_what_somebody_else_changed(browser: Client, university: University) -> None:
    path = f"/admin/employees/university/{university.pk}/change/"
    one, two = opened(browser, path), opened(browser, path)
    browser.post(path, one | {"name": ["Новое имя"]})
    assert browser.post(path, two | {"kpp": ["770101001"]}).status_code == 302
    university.refresh_from_db()
    assert (university.name, university.kpp) == ("Новое имя", "770101001")


@pytest.mark.long
def test_groups_of_a_user_are_a_field_like_others(browser: Client, user: User) -> None:
    path = f"/admin/auth/user/{user.pk}/change/"
    user.groups.clear()
    operator, officer = (str(Group.objects.get(name=name).pk) for name in ("operator", "data_protection_officer"))
    one, two, three = (opened(browser, path) for _ in range(3))
    assert browser.post(path, one | {"groups": [operator]}).status_code == 302
    assert browser.post(path, two | {"first_name": ["Анна"]}).status_code == 302
    assert user.groups.get().name == "operator"
    page = browser.post(path, three | {"groups": [officer], "last_name": ["Ким"]})
    assert list(page.context["adminform"].form.errors) == ["groups"]
    assert "Someone else has changed this field to “operator" in str(page.context["adminform"].form.errors)
    user.refresh_from_db()
    assert (user.first_name, user.last_name, user.groups.get().name) == ("Анна", "", "operator")
    # Nothing typed is lost, and saving again uses it.
    again = form_of(page.content.decode())
    assert (again["last_name"], again["groups"]) == (["Ким"], [officer])
    assert browser.post(path, again).status_code == 302
    assert user.groups.get().name == "data_protection_officer"


def test_permissions_of_a_group_are_not_restored(browser: Client) -> None:
    group = Group.objects.create(name="auditors")
    group.permissions.set(Permission.objects.filter(codename__in=("view_employee", "delete_employee")))
    path = f"/admin/auth/group/{group.pk}/change/"
    one, two = opened(browser, path), opened(browser, path)
    kept = [str(Permission.objects.get(codename="view_employee").pk)]
    assert browser.post(path, one | {"permissions": kept}).status_code == 302
    assert browser.post(path, two | {"name": ["inspectors"]}).status_code == 302
    group.refresh_from_db()
    assert (group.name, group.permissions.get().codename) == ("inspectors", "view_employee")


def test_a_membership_is_refused_and_then_overridden(browser: Client, user: User, university: University) -> None:
    membership = Membership.objects.create(user=user, university=university)
    second, third = (University.objects.create(name=name) for name in ("Второй", "Третий"))
    path = f"/admin/employees/membership/{membership.pk}/change/"
    stale = opened(browser, path)
    Membership.objects.update(university=second)
    page = browser.post(path, stale | {"university": [str(third.pk)]})
    assert "Someone else has changed this field to “Второй”." in page.content.decode()
    assert Membership.objects.get().university == second
    assert browser.post(path, form_of(page.content.decode())).status_code == 302
    assert Membership.objects.get().university == third


def test_a_profile_keeps_a_newer_name(browser: Client) -> None:
    add_profile("7", "Иван", "Петров")
    path = "/admin/profiles/profile/7/change/"
    stale = opened(browser, path)
    add_profile("7", "Пётр", "Петров")
    assert browser.post(path, stale | {"user_provided_name": ["Ваня"]}).status_code == 302
    profile = Profile.objects.get()
    assert (profile.first_name, profile.user_provided_name) == ("Пётр", "Ваня")


def test_a_deleted_row_is_reported(browser: Client, university: University, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/admin/employees/university/{university.pk}/change/"
    stale = opened(browser, path)
    manager = University._base_manager
    monkeypatch.setattr(type(manager), "select_for_update", lambda rows, **_: rows.none())
    page = browser.post(path, stale | {"name": ["Другое"]})
    assert "Someone else has deleted this record in the meantime." in page.content.decode()


@pytest.mark.long
@pytest.mark.parametrize("shown", ["", "x", "{}", "[1", '[["a"]]', "null", '["-1"]'])
def test_it_survives_any_shown_value(browser: Client, user: User, shown: str) -> None:
    path = f"/admin/auth/user/{user.pk}/change/"
    form = opened(browser, path) | {"initial-groups": [shown], "initial-date_joined": [shown]}
    assert browser.post(path, form).status_code in (200, 302)


def test_every_form_of_the_admin_merges() -> None:
    """A page that changes rows is a MergingAdmin, or refuses a stale form by the revision of the rollout.

    Signatures and API keys are not changed at all once they are made.
    """
    pages: list[Any] = list(admin.site._registry.values())
    others = [page for page in pages if not isinstance(page, MergingAdmin | ReadOnlyAdmin | ChangeRequestAdmin)]
    assert [type(page) for page in others] == [SignatureAdmin, ApiKeyAdmin]
