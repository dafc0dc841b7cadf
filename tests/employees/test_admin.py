"""The admin's pages of the directory."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from employees import backfill
from employees.models import BackfillRun, Employee, MaxIdJob, Membership, University
from tests.profiles.people import know

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    return client


def act(admin: Client, deed: str, run: BackfillRun) -> str:
    page = f"/admin/employees/backfillrun/{run.pk}/do/{deed}/"
    assert 'name="reason"' in admin.get(page).content.decode()
    return admin.post(page, {"reason": "why not"}, follow=True).content.decode()


def test_the_pages_open(admin: Client, university: University, superadmin: User) -> None:
    employee = Employee.objects.create(phone="+12025550100", university=university)
    MaxIdJob.objects.create()
    Membership.objects.create(user=superadmin, university=university)
    run = backfill.start()
    for path in (
        "employee/", f"employee/{employee.pk}/change/", "employee/?q=неизв", "university/", "membership/",
        "membership/add/", "maxidjob/", "backfillrun/", f"backfillrun/{run.pk}/change/",
    ):  # fmt: skip
        assert admin.get(f"/admin/employees/{path}").status_code == 200, path
    assert admin.get("/admin/employees/backfillrun/add/").status_code == 403


def test_a_backfill_is_begun_paused_resumed_and_undone(admin: Client, university: University) -> None:
    know("7", is_cached=False)
    employee = Employee.objects.create(phone="+12025550100", max_id="7", university=university)
    answer = admin.post("/admin/employees/backfillrun/add/", {"batch_target_ms": 100, "pause_ms": 0})
    assert answer.status_code == 302, answer.content
    run = BackfillRun.objects.get()
    assert (run.status, run.rows_total) == ("running", 1)
    act(admin, "pause", run)
    assert not backfill.step(run)
    assert run.status == "paused"
    act(admin, "resume", run)
    while backfill.step(run):
        pass
    employee.refresh_from_db()
    assert employee.first_name == "Иван"
    act(admin, "undo", run)
    run.refresh_from_db()
    while backfill.step(run):
        pass
    employee.refresh_from_db()
    assert (employee.first_name, run.status) == ("Неизвестно", "undone")


def test_a_curator_of_the_staff_sees_their_own(client: Client, university: University) -> None:
    curator = User.objects.create_user("curator", is_staff=True)
    curator.groups.add(Group.objects.get_or_create(name="curator")[0])
    curator.user_permissions.add(*Permission.objects.filter(content_type__app_label="employees"))
    Membership.objects.create(user=curator, university=university)
    other = University.objects.create(name="Чужой")
    Employee.objects.create(phone="+12025550100", last_name="Свой", university=university)
    foreign = Employee.objects.create(phone="+12025550101", last_name="Чужак", university=other)
    client.force_login(curator)
    page = client.get("/admin/employees/employee/").content.decode()
    assert "Свой" in page
    assert "Чужак" not in page
    assert client.get(f"/admin/employees/employee/{foreign.pk}/change/").status_code == 302
    assert client.get("/admin/employees/employee/import/").status_code == 403
