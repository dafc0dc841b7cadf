"""Sessions whose key changed, as at a change of the own password, end like all others."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth import login
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from employees.credentials.models import LogIn, LogInQuerySet
from employees.credentials.tasks import prune

pytestmark = pytest.mark.django_db
OLD, NEW = "old-pass-word-1", "new-pass-word-2"


@pytest.fixture
def user() -> User:
    user = User.objects.create_user("anna", password=OLD, is_staff=True)
    user.groups.add(Group.objects.get(name="viewer"))
    return user


@pytest.fixture
def browser(user: User) -> Client:
    client = Client()
    client.post("/admin/login/", {"username": "anna", "password": OLD})
    assert is_open(client)
    return client


def is_open(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def change_own_password(client: Client) -> None:
    key = client.session.session_key
    form = {"old_password": OLD, "new_password1": NEW, "new_password2": NEW}
    assert client.post("/admin/password_change/", form).status_code == 302
    assert client.session.session_key != key


def by_another(user: User) -> None:
    user.set_password("a-third-pass-word")
    user.save()


ENDS: dict[str, Callable[[User], object]] = {
    "password": by_another,
    "deactivation": lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
    "deactivation and activation": lambda user: [User.objects.update(is_active=state) for state in (False, True)],
    "staff": lambda user: [User.objects.update(is_staff=state) for state in (False, True)],
    "group": lambda user: user.groups.clear(),
}


@pytest.mark.long
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_it_works(user: User, browser: Client, end: Callable[[User], object]) -> None:
    other = Client()
    other.post("/admin/login/", {"username": "anna", "password": OLD})
    change_own_password(browser)
    assert (is_open(browser), is_open(other)) == (True, False)
    user.refresh_from_db()
    end(user)
    assert not is_open(browser)
    assert not Session.objects.filter(pk=browser.session.session_key).exists()


def test_setting_the_password_of_another_keeps_the_log_in(user: User) -> None:
    """Django changes the key of the administrator's session then."""
    root = User.objects.create_superuser("root", password=OLD)
    client = Client()
    client.post("/admin/login/", {"username": "root", "password": OLD})
    form = {"password1": NEW, "password2": NEW, "usable_password": "true"}
    assert client.post(f"/admin/auth/user/{user.pk}/password/", form).status_code == 302
    assert LogIn.objects.get(user=root).session_key == client.session.session_key
    User.objects.filter(pk=root.pk).update(is_superuser=False)
    assert not is_open(client)


def test_a_log_out_ends_it(user: User, browser: Client) -> None:
    change_own_password(browser)
    browser.post("/admin/logout/")
    assert not is_open(browser)
    assert not LogIn.objects.usable().exists()


def test_a_prolonged_session_keeps_its_log_in(user: User, browser: Client) -> None:
    Session.objects.update(expire_date=timezone.now() + timedelta(days=30))
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        prune()
        assert is_open(browser)
        user.groups.clear()
        assert not is_open(browser)


@pytest.mark.parametrize("change", [{"password": "!"}, {"is_active": False}])
def test_a_log_in_during_a_change_is_refused(
    user: User, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    def log_in(request: HttpRequest, user: User) -> None:
        User.objects.update(**change)
        login(request, user)

    monkeypatch.setattr("allauth.account.adapter.django_login", log_in)
    client = Client()
    assert client.post("/admin/login/", {"username": "anna", "password": OLD}).status_code == 403
    assert not is_open(client)
    assert not LogIn.objects.exists()
    assert not Session.objects.exists()


@pytest.mark.parametrize("change", [{"password": "!"}, {"is_active": False}])
def test_a_change_of_the_password_during_another_change_ends_the_session(
    user: User, browser: Client, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    start = LogInQuerySet.start

    def start_late(log_ins: LogInQuerySet, *args: Any) -> LogIn:
        User.objects.update(**change)
        return start(log_ins, *args)

    monkeypatch.setattr(LogInQuerySet, "start", start_late)
    form = {"old_password": OLD, "new_password1": NEW, "new_password2": NEW}
    assert browser.post("/admin/password_change/", form).status_code == 302
    assert not is_open(browser)
    assert not LogIn.objects.usable().exists()
