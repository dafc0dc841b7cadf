"""What people see where something is refused or breaks: a page in their language, with a way out; programs see JSON."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from employees.models import BackfillRun
from monitoring.alerts.kinds import Kind, Severity
from monitoring.alerts.models import Alert

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def shown(answer: Any, status: int) -> str:
    """Return the heading of a page, after a look at its rest."""
    text = answer.content.decode()
    assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert re.search('href="/admin/(login/)?"', text)
    assert "<script" not in text
    return str(re.findall(r"<h1>(.*)</h1>", text)[0])


@pytest.fixture
def viewer() -> Client:
    user = User.objects.create_user("viewer", is_staff=True)
    user.groups.add(Group.objects.get(name="viewer"))
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    return client


def test_it_works(viewer: Client) -> None:
    assert shown(viewer.get("/admin/emergency/"), 403) == "Access denied"
    assert shown(viewer.get("/admin/nothing/"), 404) == "Page not found"
    assert shown(viewer.get("/admin/steer/pause/"), 403) == "Access denied"


def test_a_form_without_its_token_gets_a_page(superadmin: User) -> None:
    client = Client(enforce_csrf_checks=True, headers={"accept-language": "en"})
    client.force_login(superadmin)
    assert shown(client.post("/admin/person/", {"who": "1"}), 403) == "The form has expired"


@pytest.fixture
def breaking(superadmin: User, monkeypatch: pytest.MonkeyPatch) -> Client:
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("monitoring.dashboard.cache.page", broken)
    client = Client(raise_request_exception=False, headers={"accept-language": "en"})
    client.force_login(superadmin)
    return client


def test_what_breaks_gets_a_page(breaking: Client) -> None:
    assert shown(breaking.get("/admin/cache/"), 500) == "Something went wrong"


def test_a_form_that_is_too_large_gets_a_page(viewer: Client) -> None:
    fields = "&".join(f"a{n}=1" for n in range(2000))
    answer = viewer.post("/admin/person/", fields, content_type="application/x-www-form-urlencoded")
    assert shown(answer, 400) == "Bad request"
    answer = viewer.post("/admin/person/", f"who={'1' * 3_000_000}", content_type="application/x-www-form-urlencoded")
    assert shown(answer, 413) == "The file is too large"


def test_programs_get_json(client: Client) -> None:
    answer = client.get("/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["monitoring/alert/{alert}/answer/mute/", "employees/backfillrun/{run}/do/undo/"])
def test_who_may_see_but_not_act_gets_a_page(viewer: Client, superadmin: User, path: str) -> None:
    ids = {
        "alert": Alert.objects.create(
            kind=Kind.DEAD_LETTERS, severity=Severity.WARNING, message="m", words={"count": 3}
        ).pk,
        "run": BackfillRun.objects.create(requested_by=superadmin, status="paused", until_id=1).pk,
    }
    assert shown(viewer.get(f"/admin/{path.format(**ids)}"), 403) == "Access denied"
