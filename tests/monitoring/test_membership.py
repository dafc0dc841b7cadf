"""A membership limits its user to one university, whatever their groups let them do there."""

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from employees.models import Employee, Membership, University
from tests.conftest import Phases

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def member(university: University | None, *groups: str) -> Client:
    user = User.objects.create_user("-".join(("own" if university else "whole", *groups)), is_staff=True)
    user.groups.add(*(Group.objects.get_or_create(name=name)[0] for name in groups))
    if university:
        Membership.objects.create(user=user, university=university)
    client = Client()
    client.force_login(user)
    client.cookies["django_language"] = "en"
    return client


@pytest.fixture
def other() -> University:
    return University.objects.create(name="Другой")


@pytest.fixture
def people(university: University, other: University) -> None:
    Employee.objects.create(phone="+79160000001", last_name="Свой", university=university)
    Employee.objects.create(phone="+79160000002", last_name="Чужак", university=other)


GROUPS = [
    ("viewer",), ("operator",), ("rollout_manager",), ("data_protection_officer",), ("superadmin", "viewer"),
    ("rollout_manager", "data_protection_officer"),
]  # fmt: skip


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("groups", GROUPS)
def test_it_works(university: University, groups: tuple[str, ...]) -> None:
    page = member(university, *groups).get("/admin/employees/employee/").content.decode()
    assert ("Свой" in page, "Чужак" in page) == (True, False)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("groups", GROUPS)
def test_without_a_membership_they_see_everybody(groups: tuple[str, ...]) -> None:
    page = member(None, *groups).get("/admin/employees/employee/").content.decode()
    assert ("Свой" in page, "Чужак" in page) == (True, True)


@pytest.mark.usefixtures("people")
def test_it_does_not_limit_a_superuser(university: University, superadmin: User, client: Client) -> None:
    Membership.objects.create(user=superadmin, university=university)
    client.force_login(superadmin)
    assert "Чужак" in client.get("/admin/employees/employee/").content.decode()


ROLE = "Only a superadmin can assign the curator role."


def test_universities_are_added_and_renamed_by_who_sees_all(university: University) -> None:
    own, whole = member(university, "operator"), member(None, "operator", "viewer")
    page = f"/admin/employees/university/{university.pk}/"
    form = {"name": "Новое имя", "inn": "", "kpp": ""}
    for path in ("/admin/employees/university/add/", f"{page}change/", f"{page}delete/"):
        assert own.post(path, form).status_code == 403, path
    assert own.get(f"{page}change/").status_code == 200
    university.refresh_from_db()
    assert (University.objects.count(), university.name == "Новое имя") == (1, False)
    assert whole.post(f"{page}change/", form).status_code == 302


@pytest.mark.long
@pytest.mark.parametrize("is_limited", [True, False])
def test_only_a_superadmin_makes_curators(university: University, is_limited: bool) -> None:
    operator = member(university if is_limited else None, "operator")
    form = {"phone": "+79160000003", "last_name": "Ким", "first_name": "Анна", "university": university.pk}
    add = "/admin/employees/employee/add/"
    page = operator.post(add, form | {"role": "curator"})
    assert page.context["adminform"].form.errors == {"role": [ROLE]}
    assert operator.post(add, form | {"role": "operator"}).status_code == 302
    employee = Employee.objects.get()
    change = f"/admin/employees/employee/{employee.pk}/change/"
    page = operator.post(change, form | {"role": "curator"})
    assert page.context["adminform"].form.errors == {"role": [ROLE]}
    # One that is a curator already is changed in other fields.
    Employee.objects.update(role="curator")
    assert operator.post(change, form | {"role": "curator", "first_name": "Яна"}).status_code == 302
    employee.refresh_from_db()
    assert (employee.role, employee.first_name) == ("curator", "Яна")


@pytest.mark.parametrize(("is_superuser", "errors"), [(False, 1), (True, 0)])
def test_no_import_makes_curators_either(university: University, is_superuser: bool, errors: int) -> None:
    Employee.objects.create(phone="+79160000004", role="curator", university=university)
    client = member(None, "operator")
    User.objects.update(is_superuser=is_superuser)
    text = f"phone,role,university_name\n+79160000003,curator,{university}\n+79160000004,curator,{university}\n"
    file = SimpleUploadedFile("f.csv", text.encode())
    page = client.post("/admin/employees/employee/import/", {"import_file": file, "format": "0", "resource": "0"})
    assert (len(page.context["result"].invalid_rows), page.content.decode().count(ROLE)) == (errors, errors)


@pytest.mark.parametrize("path", ["phonelink/", "erasure/"])
def test_max_ids_and_erasures_of_others_are_not_listed(university: University, path: str) -> None:
    groups = ("operator", "data_protection_officer")
    refused = member(university, *groups).get(f"/admin/profiles/{path}")
    assert refused.status_code == 403
    assert "limited to one university" in refused.content.decode()
    assert member(None, *groups).get(f"/admin/profiles/{path}").status_code == 200


def test_a_rollback_is_verified_with_ones_own(university: University, other: University) -> None:
    own, whole = member(university, "rollout_manager"), member(None, "operator", "rollout_manager")
    path = reverse("screens:rehearsal")
    assert other.name not in own.get(path).content.decode()
    assert other.name in whole.get(path).content.decode()
    page = own.post(path, {"university": other.pk, "reason": "r"})
    assert "university" in page.context["form"].errors


def test_a_preview_states_its_scope(university: University, other: University, phases: Phases) -> None:
    phases(100, 100)
    for number, one in enumerate((university, other)):
        Employee.objects.create(phone=f"+7916000000{number}", university=one)
    path, note = "/admin/steer/3/preview/?percent=100", "Only employees of your university are counted here"
    assert note in member(university, "operator").get(path).content.decode()
    assert note not in member(None, "operator").get(path).content.decode()


def test_no_link_leads_to_a_refusal(university: University) -> None:
    for client, is_shown in ((member(university, "operator"), False), (member(None, "operator", "viewer"), True)):
        for path in ("/admin/", reverse("screens:home-live")):
            page = client.get(path).content.decode()
            for name in ("screens:sources", "admin:webhooks_inboxupdate_changelist"):
                assert (f'class="s-link" href="{reverse(name)}"' in page) is is_shown, (path, name)


@pytest.mark.long
def test_no_link_leads_to_the_comparisons(university: University, phases: Phases) -> None:
    phases(100, 100)
    for client, is_shown in ((member(university, "operator"), False), (member(None, "operator", "viewer"), True)):
        assert ('id="evidence"' in client.get("/admin/rollout/").content.decode()) is is_shown
