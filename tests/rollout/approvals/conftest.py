"""Changes that let more people in wait for approval, and a second person who can approve them."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from profiles.rollout import changes
from tests.conftest import Phases


@pytest.fixture
def _waits(settings: Settings, phases: Phases, monkeypatch: pytest.MonkeyPatch, superadmin: User) -> None:
    settings.ROLLOUT_APPROVALS = True
    monkeypatch.setattr(changes, "_gate_checks", [lambda *_: ([], None)])
    phases(100, 100, 5)
    superadmin.set_password("first")
    superadmin.save()


@pytest.fixture
def second(_waits: None) -> User:
    return User.objects.create_superuser("second", password="second")
