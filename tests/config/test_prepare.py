"""What `make run` does to the database before it serves: the superuser, and whose password anybody knows."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from config.dev import prepare
from tests.conftest import Phases

pytestmark = pytest.mark.django_db

NOT_STARTED = {
    "percents": [0, 0, 0, 0], "stage": 0, "reason": "no phase includes this phone yet", "is_collecting": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _aside(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write static files elsewhere, and leave the handlers of the log to later tests."""
    settings.STATIC_ROOT, settings.LOGGING_CONFIG = tmp_path, None
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a-password-of-its-own")


def prepared(capsys: pytest.CaptureFixture[str]) -> Any:
    prepare.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def ids() -> list[str]:
    return [message.id or "" for message in run_checks(include_deployment_checks=True)]


@pytest.mark.long
def test_it_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepared(capsys) == {"username": "admin", "is_new": True, "rollout": NOT_STARTED}
    assert prepared(capsys) == {"username": "admin", "is_new": False, "rollout": NOT_STARTED}
    assert User.objects.get().check_password("a-password-of-its-own")


@pytest.mark.long
@pytest.mark.parametrize(("percents", "stage", "is_collecting"), [((100, 100, 100), 3, True), ((100, 100), 2, True)])
def test_it_describes_the_rollout(
    percents: tuple[int, ...], stage: int, is_collecting: bool, capsys: pytest.CaptureFixture[str], phases: Phases
) -> None:
    phases(*percents)
    rollout = prepared(capsys)["rollout"]
    assert (rollout["stage"], rollout["is_collecting"]) == (stage, is_collecting)
    assert rollout["percents"] == [*percents, *[0] * (4 - len(percents))]


@pytest.mark.long
@pytest.mark.parametrize("name", ["admin", "olga"])
def test_production_refuses_the_password_of_development(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_USERNAME", name)
    user = User.objects.create_superuser(name, password="admin")
    with pytest.raises(ImproperlyConfigured, match=f"The superuser {name} has .* `manage.py changepassword {name}`"):
        prepare.main()
    assert "monitoring.E001" in ids()
    user.set_password("a-password-of-its-own")
    user.save()
    assert prepared(capsys) == {"username": name, "is_new": False, "rollout": NOT_STARTED}
    assert "monitoring.E001" not in ids()


def test_production_makes_nobody_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "admin")
    with pytest.raises(ImproperlyConfigured, match="DJANGO_SUPERUSER_PASSWORD must not be admin"):
        prepare.main()
    assert not User.objects.exists()


def test_in_development_it_is_the_login(settings: Settings) -> None:
    settings.DEBUG = True
    User.objects.create_superuser("admin", password="admin")
    assert "monitoring.E001" not in ids()


@pytest.mark.long
def test_development_gets_a_token_unless_the_key_comes_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, settings: Settings, client: Client
) -> None:
    settings.DEBUG = True
    monkeypatch.delenv("SECRET_KEY", raising=False)
    token = prepared(capsys)["token"]
    assert client.get("/employees", headers={"authorization": f"Bearer {token}"}).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(days=30, minutes=1)):
        assert client.get("/employees", headers={"authorization": f"Bearer {token}"}).status_code == 401
    monkeypatch.setenv("SECRET_KEY", "k" * 60)
    assert "token" not in prepared(capsys)
