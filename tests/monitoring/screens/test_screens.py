"""Every page of the dashboard: with and without data, number of queries, permissions."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from employees.models import Employee, University
from monitoring.stats import cached
from profiles.rollout.decision import current_state
from tests.conftest import Phases
from tests.e2e import sample_data
from tests.monitoring.screens.conftest import READ
from tests.webhooks.sending import send
from webhooks.processing import process_inbox

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

# The checklist reads the migrations, by the loader's own number of queries.
COUNTED = [path for path in READ if "items" not in path]


@pytest.mark.long
@pytest.mark.usefixtures("shared_round")
def test_it_works(filled: Client) -> None:
    """Each page opens with data, and shows hostile names as text."""
    for path in READ:
        answer = filled.get(path)
        assert answer.status_code == 200, path
        if not path.endswith(".csv"):
            content = answer.content.decode()
            assert sample_data.SCRIPT not in content, path
            assert sample_data.IMAGE not in content, path


@pytest.mark.long
def test_comparisons_are_shown(filled: Client) -> None:
    context = filled.get("/admin/comparisons/").context
    assert context["stats"].total == sum(outcome["count"] for outcome in context["outcomes"]) > 0
    assert b"compare_arrows</span>\n            <p>" not in filled.get("/admin/comparisons/").content


@pytest.mark.long
@pytest.mark.usefixtures("shared_round")
def test_it_opens_without_data(operator: Client) -> None:
    for path in READ:
        answer = operator.get(path)
        assert answer.status_code == 200, path
        assert b"<script>" not in answer.content, f"{path} has a script of its own"


def test_it_refuses_users_without_permission(client: Client, phases: Phases) -> None:
    assert all(client.get(path)["Location"].startswith("/admin/login/") for path in READ)
    client.force_login(User.objects.create_user("guest", is_staff=True))
    assert {path: client.get(path).status_code for path in READ[1:]} == dict.fromkeys(READ[1:], 403)
    assert b"home-phases" not in client.get(READ[0]).content


@pytest.mark.integration
@pytest.mark.usefixtures("shared_round")
def test_it_costs_a_constant_number_of_queries(filled: Client) -> None:
    # As if the fixture's changes were committed: a transaction that has changed the flags reads them each time.
    connection.run_on_commit.clear()
    few = {path: queries_of(filled, path) for path in COUNTED}
    add_rows()
    assert {path: queries_of(filled, path) for path in COUNTED} == few
    # The preview asks eleven gates, each in a savepoint of its own.
    assert few.pop("/admin/steer/3/preview/?percent=50") <= 60
    assert max(few.values()) <= 25, few


def add_rows() -> None:
    for number in range(12):
        university = University.objects.create(name=f"Вуз {number}")
        Employee.objects.bulk_create(
            Employee(phone=f"+7950{number:03d}{each:04d}", university=university) for each in range(40)
        )
    count_all()


def count_all() -> None:
    for name in cached.STATISTICS:
        cached.store(name)


def queries_of(client: Client, path: str) -> int:
    count_all()
    current_state()
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path).status_code == 200
    return len(queries)


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_names_from_the_webhook_are_text_on_every_page(filled: Client) -> None:
    """The names pass the webhook, the inbox, the profile, an employee, its page and the person page."""
    person = {"user_id": 4242, "first_name": sample_data.SCRIPT, "last_name": sample_data.IMAGE, "is_bot": False}
    assert send({"update_type": "bot_started", "timestamp": 1, "chat_id": 1, "user": person}).status == 200
    process_inbox()
    filled.post("/employees", {"phone": "+79160004242", "max_id": "4242", "university_name": "А"}, "application/json")
    answer = filled.post("/admin/person/", {"who": "4242"}).content.decode()
    assert sample_data.SCRIPT not in answer
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer
    for path in ("/admin/profiles/profile/4242/change/", "/admin/profiles/profile/", "/admin/employees/employee/"):
        content = filled.get(path).content.decode()
        assert sample_data.SCRIPT not in content, path
        assert sample_data.IMAGE not in content, path


def test_the_policy_allows_our_own_files_only(operator: Client) -> None:
    policy = {
        part.split()[0]: part.split()[1:] for part in operator.get("/admin/")["Content-Security-Policy"].split("; ")
    }
    assert policy["script-src"] == ["'self'", "'unsafe-eval'"]
    assert policy["default-src"] == ["'self'"]
    assert policy["frame-ancestors"] == ["'none'"]
    assert "'unsafe-eval'" not in operator.get("/swagger")["Content-Security-Policy"]


@pytest.mark.long
def test_the_table_of_sources_is_exported(filled: Client) -> None:
    University.objects.create(name="=cmd|' /C calc'!A0")
    Employee.objects.create(phone="+79991112233", university=University.objects.latest("pk"))
    cached.store("sources")
    lines = filled.get("/admin/sources.csv").content.decode("utf-8-sig").splitlines()
    assert lines[0] == "university_id,university,webhook,user_input,api,manual,default,total"
    assert sum(int(line.rsplit(",", 1)[1]) for line in lines[1:]) == Employee.objects.count()
    assert any(",'=cmd" in line for line in lines), "a spreadsheet would run it"


def test_one_permission_opens_one_page(client: Client, phases: Phases) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_rollout"))
    client.force_login(viewer)
    content = client.get("/admin/rollout/").content.decode()
    assert "steer" not in content
    assert "/admin/emergency/" not in content
    assert client.get("/admin/cache/").status_code == 403
