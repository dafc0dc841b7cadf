"""The admin's pages of the directory."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from employees.admin import directory
from employees.backfill import batches
from employees.models import BackfillRun, Employee, MaxIdJob, Membership, University, UnresolvedName
from profiles.name_rule import NameChoice
from profiles.phones import normalize
from profiles.user_ids import user_id_of
from tests.profiles.people import add_profile

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    return client


def act(admin: Client, action: str, run: BackfillRun) -> str:
    page = f"/admin/employees/backfillrun/{run.pk}/do/{action}/"
    assert 'name="reason"' in admin.get(page).content.decode()
    return admin.post(page, {"reason": "why not"}, follow=True).content.decode()


@pytest.mark.long
def test_the_pages_open(admin: Client, university: University, superadmin: User) -> None:
    employee = Employee.objects.create(phone="+12025550100", university=university)
    MaxIdJob.objects.create()
    Membership.objects.create(user=superadmin, university=university)
    run = batches.start()
    for path in (
        "employee/", f"employee/{employee.pk}/change/", "employee/?q=неизв", "university/", "membership/",
        "membership/add/", "maxidjob/", "backfillrun/", f"backfillrun/{run.pk}/change/",
    ):  # fmt: skip
        assert admin.get(f"/admin/employees/{path}").status_code == 200, path


def test_unresolved_names_are_listed_in_few_queries(
    admin: Client, university: University, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    employees = [Employee.objects.create(phone=f"+1202555010{number}", university=university) for number in range(9)]
    UnresolvedName.objects.bulk_create(
        UnresolvedName(employee=employee, next_try_at=timezone.now()) for employee in employees
    )
    with django_assert_max_num_queries(5):
        page = admin.get("/admin/employees/unresolvedname/").content.decode()
    assert all(employee.phone in page for employee in employees)
    assert 'href="/admin/employees/unresolvedname/"' in admin.get("/admin/employees/employee/").content.decode()


def test_a_backfill_is_begun_paused_resumed_and_undone(admin: Client, university: University) -> None:
    add_profile("7", is_cached=False)
    employee = Employee.objects.create(phone="+12025550100", max_id="7", university=university)
    answer = admin.post(
        "/admin/employees/backfillrun/add/", {"batch_target_ms": 100, "pause_ms": 0, "reason": "tested"}
    )
    assert answer.status_code == 302, answer.content
    run = BackfillRun.objects.get()
    assert (run.status, run.rows_total) == ("running", 1)
    act(admin, "pause", run)
    assert not batches.run_batch(run)
    assert run.status == "paused"
    act(admin, "resume", run)
    while batches.run_batch(run):
        pass
    employee.refresh_from_db()
    assert employee.first_name == "Иван"
    act(admin, "undo", run)
    run.refresh_from_db()
    while batches.run_batch(run):
        pass
    employee.refresh_from_db()
    assert (employee.first_name, run.status) == ("Неизвестно", "undone")


def test_a_backfill_is_begun_by_one_button_and_watched(admin: Client, university: University) -> None:
    admin.cookies["django_language"] = "en"
    add = "/admin/employees/backfillrun/add/"
    page = admin.get(add).content.decode()
    assert [f'name="{name}"' in page for name in ("_save", "_addanother", "_continue")] == [True, False, False]
    choices = {"batch_target_ms": 100, "pause_ms": 0, "reason": "tested", "_addanother": "1"}
    page = admin.post(add, choices, follow=True).content.decode()
    assert f"Backfill {BackfillRun.objects.get().pk} started." in page


@pytest.mark.parametrize("method", ["get", "post"])
def test_it_refuses_a_second_backfill(admin: Client, university: University, method: str) -> None:
    admin.cookies["django_language"] = "en"
    run = batches.start()
    choices = {"batch_target_ms": 100, "pause_ms": 0, "reason": "tested"}
    answer = getattr(admin, method)("/admin/employees/backfillrun/add/", choices, follow=True)
    assert answer.redirect_chain == [(f"/admin/employees/backfillrun/{run.pk}/change/", 302)]
    assert "Only one backfill can be open at a time." in answer.content.decode()
    assert BackfillRun.objects.count() == 1


def test_undoing_names_the_run_and_what_each_button_does(admin: Client, university: University) -> None:
    admin.cookies["django_language"] = "en"
    Employee.objects.create(phone="+12025550100", university=university)
    run = batches.start()
    BackfillRun.objects.filter(pk=run.pk).update(status="paused")
    page = admin.get(f"/admin/employees/backfillrun/{run.pk}/do/undo/").content.decode()
    for text in (f"Backfill {run.pk} · restore previous names", ">Restore previous names<", ">Cancel<"):
        assert text in page


def form(university: University, **fields: str) -> dict[str, Any]:
    blank = {"last_name": "", "first_name": "", "middle_name": "", "max_id": "", "role": ""}
    return blank | {"phone": "8 916 555-01-42", "university": university.pk} | fields


ADD = "/admin/employees/employee/add/"


def test_an_employee_is_added_as_by_the_api(admin: Client, university: University) -> None:
    assert admin.post(ADD, form(university, first_name=" Анна ", last_name="Ким", max_id="7")).status_code == 302
    employee = Employee.objects.get()
    assert (employee.phone, employee.first_name, employee.max_id) == ("+79165550142", "Анна", "7")
    assert (employee.profile_source, employee.max_id_updated_at is not None) == ("manual", True)
    assert not UnresolvedName.objects.exists()


def test_no_spelling_of_a_phone_is_cut(admin: Client, university: University) -> None:
    assert "maxlength" not in str(admin.get(ADD).context["adminform"].form["phone"])
    spelled = form(university, phone=" +7 (900) 777 - 10 - 00 ")
    assert admin.post(ADD, spelled).status_code == 302
    employee = Employee.objects.get()
    assert employee.phone == "+79007771000"
    change = f"/admin/employees/employee/{employee.pk}/change/"
    assert "maxlength" not in str(admin.get(change).context["adminform"].form["phone"])
    assert admin.post(change, spelled | {"first_name": "Анна"}).status_code == 302
    answer = admin.post(ADD, form(university, phone="9" * 1000))
    assert list(answer.context["adminform"].form.errors) == ["phone"]


def test_one_added_without_a_name_is_looked_up(admin: Client, university: University) -> None:
    assert admin.post(ADD, form(university)).status_code == 302
    employee = Employee.objects.get()
    assert (employee.first_name, employee.profile_source, employee.max_id) == ("Неизвестно", "default", None)
    # Without a token nobody could be asked, now or later.
    assert not UnresolvedName.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("phone", "12345"), ("phone", "916 51\n512 35 00"), ("max_id", "1\r\n234"),
     ("phone", "+7916555014"), ("max_id", "007"), ("max_id", "9223372036854775808"),
     ("max_id", "a b"), ("role", "rector")],
)  # fmt: skip
def test_the_form_refuses_what_the_api_refuses(admin: Client, university: University, field: str, value: str) -> None:
    answer = admin.post(ADD, form(university, **{field: value}))
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [field]
    assert not Employee.objects.exists()


def test_the_form_refuses_a_phone_that_is_taken(admin: Client, university: University) -> None:
    Employee.objects.create(phone="+79165550142", university=university)
    answer = admin.post(ADD, form(university))
    errors = answer.context["adminform"].form.errors
    assert errors == {"phone": ["An employee with this phone already exists."]}


def test_a_name_edited_is_manual_and_the_source_cannot_be(admin: Client, university: University) -> None:
    now = timezone.now()
    employee = Employee.objects.create(
        phone="+79165550142", first_name="Иван", last_name="Ким", profile_source="webhook", profile_last_updated=now,
        max_id="7", university=university,
    )  # fmt: skip
    path = f"/admin/employees/employee/{employee.pk}/change/"
    same = form(university, first_name="Иван", last_name="Ким", max_id="7")
    assert admin.post(path, same | {"role": "operator", "profile_source": "api"}).status_code == 302
    employee.refresh_from_db()
    assert (employee.role, employee.profile_source, employee.profile_last_updated) == ("operator", "webhook", now)
    assert admin.post(path, same | {"last_name": "", "max_id": ""}).status_code == 302
    employee.refresh_from_db()
    assert (employee.last_name, employee.max_id, employee.profile_source) == ("", None, "manual")
    assert employee.profile_last_updated is None


@pytest.mark.django_db(transaction=True)
def test_a_name_is_looked_up_before_the_transaction(
    admin: Client, university: University, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within it, the lock of the rate limit would block all other calls of the direct API until MAX answers."""
    are_in_transaction = []

    def resolve(**_: object) -> NameChoice:
        are_in_transaction.append(connection.in_atomic_block)
        return NameChoice("Иван", "Петров")

    monkeypatch.setattr(directory, "resolve", resolve)
    assert admin.post(ADD, {"phone": "8 916 555-01-42", "university": university.pk}).status_code == 302
    assert are_in_transaction == [False]
    assert Employee.objects.get().last_name == "Петров"


UNIVERSITY = "/admin/employees/university/add/"


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [("inn", "1", "Invalid INN “1”: enter 10 or 12 digits."), ("inn", "٧" * 10, "Invalid INN"),
     ("kpp", "2", "Invalid KPP “2”: enter 9 digits."), ("kpp", "77010100a", "Invalid KPP")],
)  # fmt: skip
def test_a_university_is_refused_as_by_the_api(admin: Client, field: str, value: str, error: str) -> None:
    right = {"name": "МГУ", "inn": "7701234567", "kpp": "770101001"}
    answer = admin.post(UNIVERSITY, right | {field: value})
    assert list(answer.context["adminform"].form.errors) == [field]
    assert error in str(answer.context["adminform"].form.errors[field])
    assert admin.post(UNIVERSITY, right).status_code == 302
    assert admin.post(UNIVERSITY, {"name": "СПбГУ", "inn": "", "kpp": ""}).status_code == 302
    page = f"/admin/employees/university/{University.objects.get(name='МГУ').pk}/change/"
    assert admin.post(page, right | {field: value}).status_code == 200


@pytest.mark.parametrize("field", ["id__exact", "university__id__exact"])
def test_an_id_that_no_row_can_have_finds_nothing(admin: Client, university: University, field: str) -> None:
    Employee.objects.create(phone="+12025550100", university=university)
    page = admin.get("/admin/employees/employee/", {field: "9" * 20})
    assert (page.status_code, page.context["cl"].result_count) == (200, 0)


@pytest.mark.parametrize(
    "fields",
    [{"phone": "89165550142"}, {"phone": "+7916555014"}, {"phone": "+0916555014"}, {"max_id": "007"},
     {"max_id": "9223372036854775808"}, {"max_id": "a b"}, {"max_id": "1" * 20}],
)  # fmt: skip
def test_the_database_refuses_what_is_not_canonical(university: University, fields: dict[str, str]) -> None:
    with pytest.raises(IntegrityError, match="canonical"), transaction.atomic():
        Employee.objects.create(**{"phone": "+79165550142", "university": university} | fields)


def test_the_database_takes_what_is(university: University) -> None:
    max_ids = ("1", "9223372036854775807", "test_user", "A.b-9", "0x", "1" * 19)
    for phone, max_id in product(("+79165550142", "+1234567890", "+12345678", "+999999999999999"), max_ids):
        assert (normalize(phone), user_id_of(max_id)) == (phone, max_id)
        Employee.objects.create(phone=phone, max_id=max_id, university=university).delete()


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
    assert client.get("/admin/employees/employee/import/").status_code == 200
    for employee in Employee.objects.all():
        UnresolvedName.objects.create(employee=employee, next_try_at=timezone.now())
    page = client.get("/admin/employees/unresolvedname/").content.decode()
    assert "+12025550100" in page
    assert "+12025550101" not in page
    assert client.get(f"/admin/employees/unresolvedname/{foreign.pk}/change/").status_code == 302
