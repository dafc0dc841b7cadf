"""manage.py reset_second_factor, for who has lost the phone."""

from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django.fixtures import Settings

from config.lib import shell_user
from config.lib.audit_log import display_change
from employees.credentials.models import LogIn
from employees.credentials.tokens import issue
from tests.config.test_access_log import lines
from tests.employees.credentials.factors import CODE, PASSWORD, SET_UP, code, enrol, factors, password
from tests.employees.credentials.test_token_codes import status

pytestmark = pytest.mark.django_db


@pytest.fixture
def user(settings: Settings) -> User:
    settings.ADMIN_MFA_REQUIRED = True
    user = User.objects.create_superuser("anna", password=PASSWORD)
    enrol(user)
    return user


def reset(*arguments: str) -> str:
    output = StringIO()
    call_command("reset_second_factor", *arguments, stdout=output)
    return output.getvalue()


def test_it_works(user: User, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.force_login(user)
    token = issue(LogIn.objects.start(user, has_second_factor=True))["access"]
    assert status(token) == 200
    lines(caplog)
    assert "ended" in reset("anna")
    assert factors(user) == []
    assert status(token) == 401
    assert client.get("/admin/")["Location"].startswith("/admin/login/")
    assert [(line["event"], line["user"], line["level"]) for line in lines(caplog)] == [
        ("second_factor_reset", "anna", "WARNING"),
        ("request_refused", "", "WARNING"),
    ]
    row = LogEntry.objects.get()
    assert (row.user, row.object_id) == (user, str(user.pk))
    assert f"Second factor reset by {shell_user.login()}" in display_change(row)
    assert "manage.py" not in display_change(row)
    password(client)
    assert client.get("/admin/")["Location"].startswith(SET_UP)


def test_it_leaves_others_alone(user: User) -> None:
    other = User.objects.create_superuser("ivan")
    enrol(other)
    log_in = LogIn.objects.start(other)
    reset("anna")
    assert factors(other) == ["recovery_codes", "totp"]
    assert LogIn.objects.usable().filter(pk=log_in.pk).exists()


def test_a_dry_run_changes_nothing(user: User) -> None:
    assert "not removed" in reset("anna", "--dry-run")
    assert factors(user) == ["recovery_codes", "totp"]
    assert not LogEntry.objects.exists()


def test_it_refuses_an_unknown_account(user: User) -> None:
    with pytest.raises(CommandError, match="There is no account 'ann'"):
        reset("ann")


def test_it_refuses_an_account_without_one(user: User) -> None:
    reset("anna")
    with pytest.raises(CommandError, match="has no second factor"):
        reset("anna")


def test_an_administrator_resets_it_for_others(client: Client, user: User, caplog: pytest.LogCaptureFixture) -> None:
    root = User.objects.create_superuser("root", password=PASSWORD)
    enrol(root)
    password(client, "root")
    client.post(CODE, {"code": code()})
    lines(caplog)
    others = [user.pk, User.objects.create_user("without").pk]
    form = {"action": "reset_second_factors", "_selected_action": others}
    page = client.post("/admin/auth/user/", form, follow=True).content.decode()
    assert "1 second factor was removed." in page
    assert (factors(user), len(factors(root))) == ([], 2)
    assert [(line["event"], line["user"], line["by"]) for line in lines(caplog)] == [
        ("second_factor_reset", "anna", "root")
    ]
    row = LogEntry.objects.get()
    assert (row.user, row.object_id, display_change(row)) == (root, str(user.pk), "Reset the second factor")
