"""Employees and universities in the admin: the rules of the API, history, refresh, numbers of queries."""

from http import HTTPStatus

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from config.lib.audit_log import message_of
from employees.backfill import batches
from employees.history.models import EmployeeVersion, UniversityVersion, backfilled_names
from employees.models import BackfillRun, Employee, RunStatus, University
from tests.profiles.people import add_profile
from tests.rollout.changing import change

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]
LIST = "/admin/employees/employee/"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def create(university: University, number: int = 0, **fields: object) -> Employee:
    return Employee.objects.create(phone=f"+1202555{number:04}", university=university, **fields)


def form_of(employee: Employee, **changes: object) -> dict[str, object]:
    names = ("phone", "last_name", "first_name", "middle_name", "max_id", "role")
    return {name: getattr(employee, name) or "" for name in names} | {"university": employee.university_id} | changes


def test_it_works(admin: Client, university: University) -> None:
    create(university, 1, last_name="Ёлкина", profile_source="webhook")
    create(university, 2, last_name="Петров")
    page = admin.get(LIST, {"q": "ЁЛК"})
    assert [employee.last_name for employee in page.context["cl"].result_list] == ["Ёлкина"]
    assert "webhook" in page.content.decode()


def test_an_added_one_is_named_by_the_cache(admin: Client, university: University) -> None:
    add_profile("7")
    answer = admin.post(f"{LIST}add/", {"phone": "8 916 123-45-67", "max_id": "7", "university": university.pk})
    assert answer.status_code == HTTPStatus.FOUND, answer.context["errors"]
    employee = Employee.objects.get()
    assert (employee.phone, employee.first_name, employee.profile_source) == ("+79161234567", "Иван", "webhook")


def test_a_name_by_hand_is_manual_and_an_empty_one_refused(admin: Client, university: University) -> None:
    employee = create(university, first_name="Иван", last_name="Петров", profile_source="webhook")
    page = f"{LIST}{employee.pk}/change/"
    admin.post(page, form_of(employee, last_name="Сидоров"))
    employee.refresh_from_db()
    assert (employee.last_name, employee.profile_source) == ("Сидоров", "manual")
    assert admin.post(page, form_of(employee, phone="12")).status_code == HTTPStatus.OK
    assert admin.post(page, form_of(employee, first_name="")).status_code == HTTPStatus.OK


def test_the_refresh_spares_names_by_hand(admin: Client, university: University) -> None:
    add_profile("7")
    by_hand = create(university, 1, max_id="7", first_name="Вася", profile_source="manual")
    unknown = create(university, 2, max_id="7", profile_source="default")
    absent = create(university, 3, max_id="8", profile_source="default")
    ids = [by_hand.pk, unknown.pk, absent.pk]
    page = admin.post(LIST, {"action": "refresh_from_cache", "_selected_action": ids}, follow=True).content.decode()
    assert "Names refreshed from the cache: 1 of 3." in page
    for employee in (by_hand, unknown):
        employee.refresh_from_db()
    assert (by_hand.first_name, by_hand.profile_source) == ("Вася", "manual")
    assert (unknown.first_name, unknown.last_name, unknown.profile_source) == ("Иван", "Петров", "webhook")


def test_the_refresh_waits_for_a_resume(admin: Client, university: University) -> None:
    add_profile("7")
    employee = create(university, max_id="7", profile_source="default")
    change("pause", reason="wrong names")
    chosen = {"action": "refresh_from_cache", "_selected_action": [employee.pk]}
    page = admin.post(LIST, chosen, follow=True).content.decode()
    assert "The rollout is paused (wrong names): resume it first." in page
    employee.refresh_from_db()
    assert employee.profile_source == "default"


def test_a_partial_name_does_not_replace_a_full_one(admin: Client, university: University) -> None:
    add_profile("7", last_name=None)
    employee = create(university, max_id="7", first_name="Пётр", last_name="Петров", profile_source="api")
    admin.post(LIST, {"action": "refresh_from_cache", "_selected_action": [employee.pk]})
    employee.refresh_from_db()
    assert employee.first_name == "Пётр"


def test_history_names_who_changed_what_in_the_api_too(
    admin: Client, api: APIClient, superadmin: User, university: University
) -> None:
    created = {"phone": "+12025550100", "first_name": "Иван", "last_name": SCRIPT, "university_id": university.pk}
    pk = api.post("/employees", created, format="json").json()["id"]
    api.patch(f"/employees/{pk}", {"last_name": "Сидоров"}, format="json")
    versions = EmployeeVersion.objects.filter(id=pk)
    assert [(version.history_type, version.history_user) for version in versions] == [
        ("~", superadmin),
        ("+", superadmin),
    ]
    page = admin.get(f"{LIST}{pk}/history/").content.decode()
    assert "Сидоров" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert SCRIPT not in page
    api.delete(f"/employees/{pk}")
    assert admin.get(f"{LIST}{pk}/history/").status_code == HTTPStatus.OK


def test_the_first_change_of_an_old_row_is_compared(admin: Client, api: APIClient, university: University) -> None:
    (employee,) = Employee.objects.bulk_create([Employee(phone="+12025550199", last_name="Ли", university=university)])
    api.patch(f"/employees/{employee.pk}", {"last_name": "Ким"}, format="json")
    assert [version.last_name for version in EmployeeVersion.objects.filter(id=employee.pk)] == ["Ким", "Ли"]
    page = admin.get(f"{LIST}{employee.pk}/history/").content.decode()
    assert "Ли → Ким" in page
    assert "None" not in page
    assert "+00:00 " not in page


def test_history_has_what_a_backfill_did(admin: Client, university: University) -> None:
    add_profile("7", is_cached=False)
    employee = create(university, max_id="7", profile_source="default")
    run = batches.start()
    while batches.run_batch(run):
        pass
    assert [change.after for change in backfilled_names(employee.pk)] == ["Петров Иван"]
    assert "Неизвестно Неизвестно → Петров Иван" in admin.get(f"{LIST}{employee.pk}/history/").content.decode()


def test_universities_have_a_history(admin: Client) -> None:
    admin.post("/admin/employees/university/add/", {"name": "МГУ"})
    pk = University.objects.get().pk
    admin.post(f"/admin/employees/university/{pk}/change/", {"name": "СПбГУ"})
    assert [version.name for version in UniversityVersion.objects.filter(id=pk)] == ["СПбГУ", "МГУ"]
    assert "СПбГУ" in admin.get(f"/admin/employees/university/{pk}/history/").content.decode()


@pytest.mark.long
@pytest.mark.parametrize("query", ["", "?q=петров", "?profile_source__exact=default", "?o=1"])
def test_the_list_asks_as_often_for_a_hundred_as_for_one(admin: Client, university: University, query: str) -> None:
    counts = []
    for numbers in (range(1), range(1, 110)):
        universities = University.objects.bulk_create(University(name=f"В{number}") for number in numbers)
        Employee.objects.bulk_create(
            Employee(phone=f"+120255{number:05}", university=one, last_name="Петров", profile_source="default")
            for number, one in zip(numbers, universities, strict=True)
        )
        with CaptureQueriesContext(connection) as queries:
            assert admin.get(LIST + query).status_code == HTTPStatus.OK
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 12


def test_import_and_export_are_recorded_as_a_whole(admin: Client, university: University) -> None:
    file = SimpleUploadedFile("e.csv", f"phone,last_name,university_name\n89161234567,{SCRIPT},МГУ\n".encode())
    preview = admin.post(f"{LIST}import/", {"import_file": file, "format": "0"})
    assert SCRIPT not in preview.content.decode()
    assert "alert(1)" in preview.content.decode()
    admin.post(f"{LIST}process_import/", preview.context["confirm_form"].initial, follow=True)
    fields = {"employeeresource_phone": "on", "employeeresource_last_name": "on"}
    export = admin.post(f"{LIST}export/", {"format": "0", "resource": "0"} | fields)
    assert SCRIPT in export.content.decode()
    texts = [str(message_of(row)) for row in LogEntry.objects.order_by("pk")]
    assert texts == ["Import: 1 new, 0 updated", "Export of 1 employees"]


@pytest.mark.parametrize(
    ("path", "codenames"),
    [
        ("import/", ["view_employee"]),
        ("import/", ["view_employee", "add_employee"]),
        ("export/", ["view_employee", "change_employee"]),
    ],
)
def test_files_need_their_permissions(path: str, codenames: list[str]) -> None:
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(reader)
    assert client.get(LIST + path).status_code == HTTPStatus.FORBIDDEN


# Backfill runs


def test_progress_is_live_while_the_run_moves(admin: Client, university: University) -> None:
    add_profile("7", is_cached=False)
    create(university, max_id="7", profile_source="default")
    run = batches.start()
    page = admin.get(f"/admin/employees/backfillrun/{run.pk}/change/").content.decode()
    assert 'hx-trigger="every 2s"' in page
    live = f"/admin/employees/backfillrun/{run.pk}/progress/"
    assert "0 of 1 checked" in admin.get(live).content.decode()
    while batches.run_batch(run):
        pass
    done = admin.get(live).content.decode()
    assert "1 of 1 checked" in done
    assert "hx-trigger" not in done


def test_an_undo_shows_how_much_is_given_back(admin: Client, university: University) -> None:
    run = BackfillRun.objects.create(
        status=RunStatus.PAUSED, paused_because="too slow", until_id=9, rows_seen=3, rows_total=100
    )
    for number in range(4):
        run.batches.create(after_id=number, until_id=number + 1, rows_seen=1)
    admin.post(f"/admin/employees/backfillrun/{run.pk}/do/undo/", {"reason": "wrong names"})
    live = f"/admin/employees/backfillrun/{run.pk}/progress/"
    for percent in (0, 25, 50, 75, 100):
        page = admin.get(live)
        assert page.context["percent"] == percent
        assert "too slow" not in page.content.decode()
        run.refresh_from_db()
        batches.run_batch(run)
    run.refresh_from_db()
    assert (run.status, admin.get(live).context["percent"]) == (RunStatus.UNDONE, 100)


def test_failed_batches_are_tried_again(admin: Client, university: University) -> None:
    add_profile("7", is_cached=False)
    employee = create(university, max_id="7", profile_source="default")
    run = BackfillRun.objects.create(status=RunStatus.DONE, until_id=employee.pk)
    run.batches.create(status="failed", after_id=0, until_id=employee.pk, rows_seen=1, error="LockNotAvailable")
    page = admin.post(f"/admin/employees/backfillrun/{run.pk}/do/retry/", {"reason": "again"}, follow=True)
    assert "Failed batches retried: 1." in page.content.decode()
    employee.refresh_from_db()
    assert employee.first_name == "Иван"
    assert str(message_of(LogEntry.objects.get())) == "Retry failed batches: again"


def test_it_refuses_an_action_without_reason_or_permission(admin: Client, university: University) -> None:
    create(university)
    run = batches.start()
    undo = f"/admin/employees/backfillrun/{run.pk}/do/undo/"
    pause = f"/admin/employees/backfillrun/{run.pk}/do/pause/"
    assert "This is no longer possible." in admin.post(undo, {"reason": "x"}, follow=True).content.decode()
    admin.post(pause, {"reason": " "})
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.set(Permission.objects.filter(codename__in=["view_backfillrun", "add_backfillrun"]))
    client = Client()
    client.force_login(reader)
    assert client.post(pause, {"reason": "x"}).status_code == HTTPStatus.FORBIDDEN
    assert client.get(f"/admin/employees/backfillrun/{run.pk}/do/explode/").status_code == HTTPStatus.NOT_FOUND
    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING
