"""Tokens end with their log-in: by log-out, reuse, a change of the account, or seven days after the log-in."""

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import jwt
import pytest
import time_machine
from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.state import token_backend

from config.lib import clock
from config.lib.http.throttling import LogInRate, TokenBuckets
from employees.credentials.models import LogIn, find_usable
from employees.credentials.tasks import prune

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _full_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LogInRate, "buckets", TokenBuckets())


@pytest.fixture
def user() -> User:
    user = User.objects.create_superuser("anna", password="right")
    group = Group.objects.get(name="superadmin")
    group.permissions.add(Permission.objects.get(codename="add_session"))
    user.groups.add(group)
    user.user_permissions.add(Permission.objects.get(codename="view_employee"))
    return user


def post(path: str, **body: object) -> Any:
    return APIClient().post(path, json.dumps(body), content_type="application/json")


def log_in(password: str = "right") -> dict[str, str]:  # noqa: S107
    answer = post("/api/token", username="anna", password=password)
    assert answer.status_code == 200, answer.json()
    return dict(answer.json())


def refresh(token: str) -> Any:
    return post("/api/token/refresh", refresh=token)


def access(tokens: dict[str, str]) -> int:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens['access']}")
    return int(client.get("/employees").status_code)


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def end(tokens: dict[str, str]) -> bool:
    """Return whether both tokens are refused."""
    answer = refresh(tokens["refresh"])
    return (access(tokens), answer.status_code, answer.json()["error"]["code"]) == (401, 401, "UNAUTHORIZED")


def test_it_works(user: User) -> None:
    first = log_in()
    assert access(first) == 200
    second = refresh(first["refresh"]).json()
    assert set(second) == {"access", "refresh"}
    assert (access(first), access(second)) == (200, 200)
    assert refresh(second["refresh"]).status_code == 200


def _set_password(user: User) -> None:
    user.set_password("another")
    user.save()


def _other() -> User:
    return User.objects.create_user("other")


def _permission() -> Permission:
    return Permission.objects.get(codename="delete_logentry")


CHANGES: dict[str, Callable[[User], object]] = {
    "password": _set_password,
    "password by SQL": lambda user: User.objects.update(password="x"),
    "deactivation": lambda user: User.objects.update(is_active=False),
    "deactivation and activation": lambda user: [User.objects.update(is_active=state) for state in (False, True)],
    "staff": lambda user: User.objects.update(is_staff=False),
    "superuser": lambda user: User.objects.update(is_superuser=False),
    "group": lambda user: user.groups.clear(),
    "permission": lambda user: user.user_permissions.clear(),
    "group by SQL": lambda user: user.groups.through.objects.update(group=Group.objects.get(name="operator")),
    "group given to another by SQL": lambda user: user.groups.through.objects.update(user=_other()),
    "permission by SQL": lambda user: user.user_permissions.through.objects.update(permission=_permission()),
    "permission of a group": lambda user: Group.objects.get(name="superadmin").permissions.clear(),
    "permission of a group by SQL": lambda user: Group.permissions.through.objects.filter(
        group__name="superadmin"
    ).update(permission=_permission()),
    "group permission given to another by SQL": lambda user: Group.permissions.through.objects.filter(
        group__name="superadmin"
    ).update(group=Group.objects.create(name="other")),
    "group deleted": lambda user: user.groups.all().delete(),
    "deletion": lambda user: user.delete(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_ends_everything(user: User, client: Client, change: Callable[[User], object]) -> None:
    tokens, other = log_in(), log_in()
    client.post("/admin/login/", {"username": "anna", "password": "right"})
    assert client.get("/admin/auth/user/").status_code == 200
    change(user)
    assert end(tokens)
    assert end(other)
    assert client.get("/admin/auth/user/").status_code == 302


def test_a_promotion_ends_nothing_and_shows_at_the_next_refresh(user: User) -> None:
    user.is_superuser = user.is_staff = False
    user.save()
    tokens = log_in()
    assert not claims(tokens["access"])["is_staff"]
    user.is_staff = True
    user.save()
    user.groups.add(Group.objects.get(name="viewer"))
    user.user_permissions.add(_permission())
    Group.objects.get(name="viewer").permissions.add(_permission())
    Group.objects.get(name="operator").permissions.clear()
    # An update that changes nothing takes nothing away.
    user.groups.through.objects.update(user=user)
    assert claims(refresh(tokens["refresh"]).json()["access"])["is_staff"] is True


def test_a_log_in_leaves_other_log_ins_alone(user: User) -> None:
    first = log_in()
    log_in()
    assert access(first) == 200


def test_a_log_in_that_loses_to_a_password_change_gets_nothing(user: User) -> None:
    """Authenticated by the old password, and stored after the trigger has run."""
    stale = User.objects.get()
    _set_password(user)
    with pytest.raises(Exception, match="Incorrect authentication"):
        LogIn.objects.start(stale)


def test_reuse_revokes_the_whole_family(user: User, caplog: pytest.LogCaptureFixture) -> None:
    first, other = log_in(), log_in()
    second = refresh(first["refresh"]).json()
    assert refresh(first["refresh"]).status_code == 401
    assert end(second)
    assert end(first)
    assert access(other) == 200
    reused = [record for record in caplog.records if getattr(record, "event", "") == "refresh_token_reused"]
    assert [(record.__dict__["user"], record.levelno) for record in reused] == [("anna", logging.WARNING)]


@pytest.mark.django_db(transaction=True)
def test_of_twelve_parallel_uses_one_gets_a_pair(user: User) -> None:
    token = log_in()["refresh"]

    def use(_: int) -> int:
        try:
            return int(refresh(token).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(12) as threads:
        statuses = list(threads.map(use, range(12)))
    assert sorted(statuses) == [200] + [401] * 11


def test_log_out_ends_the_family(user: User) -> None:
    first, other = log_in(), log_in()
    second = refresh(first["refresh"]).json()
    answer = post("/api/token/revoke", refresh=second["refresh"])
    assert (answer.status_code, answer.json()) == (200, {})
    assert end(second)
    assert end(first)
    assert access(other) == 200


def test_log_out_refuses_what_is_no_refresh_token(user: User) -> None:
    tokens = log_in()
    for text in (tokens["access"], "x", "й", tokens["refresh"][:-3]):
        assert post("/api/token/revoke", refresh=text).status_code == 401
    assert post("/api/token/revoke").status_code == 400
    assert access(tokens) == 200


def test_a_chain_lasts_seven_days(user: User) -> None:
    start = timezone.now()
    tokens = log_in()
    for hours in range(20, 7 * 24, 20):
        with time_machine.travel(start + timedelta(hours=hours), tick=False):
            tokens = refresh(tokens["refresh"]).json()
            assert access(tokens) == 200
    assert claims(tokens["refresh"])["exp"] <= (start + timedelta(days=7, minutes=1)).timestamp()
    with time_machine.travel(start + timedelta(days=7, minutes=1)):
        assert end(tokens)


def test_production_refuses_tokens_of_development(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same log-in and key: only the audience differs."""
    tokens = log_in()
    monkeypatch.setattr(token_backend, "audience", "production")
    assert end(tokens)


@pytest.mark.parametrize("claim", ["aud", "sid"])
def test_tokens_of_earlier_releases_are_refused(user: User, claim: str) -> None:
    """They lack both claims, and could not be revoked."""
    tokens = log_in()
    for name, token in tokens.items():
        payload = claims(token)
        del payload[claim]
        tokens[name] = jwt.encode(payload, settings.SECRET_KEY, "HS256")
    assert end(tokens)


@pytest.mark.parametrize("sid", [None, 1, True, "", "x" * 5000, [], {}, "\0", "a\0b", "\ud800", "0" * 32])
def test_a_log_in_that_does_not_exist_is_refused(user: User, sid: object) -> None:
    tokens = {n: jwt.encode(claims(t) | {"sid": sid}, settings.SECRET_KEY, "HS256") for n, t in log_in().items()}
    assert end(tokens)


@pytest.mark.parametrize("jti", ["\0", "\ud800", 1, [], {}])
def test_a_token_without_an_id_of_its_own_is_refused(user: User, jti: object) -> None:
    tokens = {n: jwt.encode(claims(t) | {"jti": jti}, settings.SECRET_KEY, "HS256") for n, t in log_in().items()}
    assert end(tokens)


@pytest.mark.parametrize("name", ["u" * 256, "u" * 151, "a\0b", "\ud800", {}, [], True, None, "", 1, "й" * 150])
def test_any_user_name_is_answered(user: User, name: object, client: Client) -> None:
    assert post("/api/token", username=name, password="right").status_code in (400, 401)
    if isinstance(name, str) and name.isprintable():
        assert client.post("/admin/login/", {"username": name, "password": "x"}).status_code == 200


def test_what_has_expired_is_pruned(user: User, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "of_database", timezone.now)
    client.post("/admin/login/", {"username": "anna", "password": "right"})
    refresh(log_in()["refresh"])
    client.post("/admin/login/", {"username": "anna", "password": "wrong"})
    assert prune() == 0
    with time_machine.travel(timezone.now() + timedelta(days=7, minutes=1)):
        assert prune() == 6, "two log-ins, a session, a used token in two tables, and a failed attempt"
    tables = ("log_ins", "django_session", "token_blacklist_outstandingtoken", "axes_accessattempt")
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 (names of tables)
            assert cursor.fetchone() == (0,), table


def test_a_usable_log_in_is_found_as_django_finds_it(user: User) -> None:
    log_in = LogIn.objects.start(user, session_key="s" * 32, has_second_factor=True)
    found = find_usable(log_in.pk)
    expected = LogIn.objects.usable().get(pk=log_in.pk)
    assert found is not None
    for mine, its in ((found, expected), (found.user, expected.user)):
        names = [field.attname for field in its._meta.concrete_fields]
        assert {name: getattr(mine, name) for name in names} == {name: getattr(its, name) for name in names}
        assert (mine._state.db, mine._state.adding) == (its._state.db, its._state.adding)
        assert mine.get_deferred_fields() == set()
    assert found.user.has_perm("employees.view_employee")


@pytest.mark.parametrize("change", [{"revoked_at": "2026-01-01T00:00Z"}, {}], ids=["revoked", "just expired"])
def test_another_log_in_is_not_found(user: User, change: dict[str, str]) -> None:
    log_in = LogIn.objects.start(user)
    assert find_usable(log_in.pk) == log_in
    # This moment is later than that of the query's first use.
    values: dict[str, Any] = change or {"expires_at": timezone.now()}
    LogIn.objects.filter(pk=log_in.pk).update(**values)
    assert find_usable(log_in.pk) is None
    assert find_usable("0" * 32) is None
