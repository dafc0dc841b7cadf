"""The ways to ask for a change and to approve it, each of which returns the message of a refusal."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from employees.credentials.models import ApiKey
from profiles.rollout import changes
from profiles.rollout.models import Approval
from profiles.rollout.rules import ChangeRefused
from tests.conftest import client_of
from tests.rollout.changing import request

NEEDED = "A second person has to approve this change."
OWN = "You cannot approve your own request: a second person has to approve it."


def browser(user: str = "root") -> Client:
    client = Client()
    client.force_login(User.objects.get(username=user))
    return client


def shown(client: Client, path: str, form: dict[str, Any]) -> str:
    """Post the form and return the message that the page shows."""
    answer = client.post(path, {"reason": "r", **form}, follow=True)
    return str(next(iter(answer.context["messages"])))


def ran(*words: str) -> str:
    try:
        call_command(*words, stdout=io.StringIO())
    except CommandError as refused:
        return str(refused)
    return ""


def code(call: Callable[[], object]) -> str:
    try:
        # As a caller who writes more rows would.
        with transaction.atomic():
            call()
    except ChangeRefused as refused:
        return str(refused)
    return ""


def applied(action: str, **what: Any) -> str:
    try:
        changes.apply(request(action, **what))
    except ChangeRefused as refused:
        return str(refused)
    return ""


def posted(client: APIClient, path: str, **body: Any) -> str:
    answer = client.post(f"/monitoring/rollout/{path}", {"reason": "r", **body}, format="json")
    return "" if answer.status_code == 200 else str(answer.json()["error"]["message"])


def api(user: str = "root") -> APIClient:
    return client_of(User.objects.get(username=user))


def key_of(user: User) -> APIClient:
    key = ApiKey(name=f"deploy {ApiKey.objects.count()}", owner=user, expires_at=timezone.now() + timedelta(days=1))
    text = key.generate()
    key.save()
    key.permissions.set(Permission.objects.filter(codename="operate_rollout"))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
    return client


def asked(user: str = "root") -> Approval:
    assert posted(api(user), "set", phase=3, percent=25, reason="the fair opens") == NEEDED
    return Approval.objects.get()


def by_screen(pk: int, user: str) -> str:
    answer = browser(user).post(f"/admin/approvals/{pk}/", {"reason": "checked", "verdict": "approve"})
    return "" if answer.status_code == 302 else str(answer.context["refusal"])


def by_command(pk: int, user: str) -> str:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", io.StringIO({"root": "first"}.get(user, user) + "\n"))
        return ran("rollout", "approve", str(pk), "--by", user, "--reason=checked")


def by_api(pk: int, user: str) -> str:
    return posted(api(user), f"approvals/{pk}/approve", reason="checked")


def by_key(pk: int, user: str) -> str:
    return posted(key_of(User.objects.get(username=user)), f"approvals/{pk}/approve", reason="checked")
