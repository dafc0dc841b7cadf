"""University rules hold wherever a name is chosen: each way to a name, under each rule."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from employees import naming
from employees.backfill import batches
from employees.models import Employee, University, UnresolvedName
from profiles.lookup import resolve
from profiles.models import ProfileSource, WaitingComparison
from profiles.rollout.models import UniversityRule
from tests.conftest import Phases, client_of
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
PHONE = "+79160000001"
FROM_CACHE = ("Иван", "Петров")


def stored(university: University, source: ProfileSource, **names: str) -> Employee:
    fields = {"phone": PHONE, "max_id": "7", "university": university, "profile_source": source}
    return Employee.objects.create(**fields, **names)


def created(university: University, tmp_path: Path) -> None:
    body = {"phone": PHONE, "max_id": "7", "university_id": university.pk}
    answer = client_of(User.objects.create_superuser("root")).post("/employees", body, format="json")
    assert answer.status_code == 201


def created_in_the_admin(university: University, tmp_path: Path) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    names = {"last_name": "", "first_name": "", "middle_name": "", "role": ""}
    form = names | {"phone": PHONE, "max_id": "7", "university": university.pk}
    assert client.post("/admin/employees/employee/add/", form).status_code == 302


def imported(university: University, tmp_path: Path) -> None:
    path = tmp_path / "employees.csv"
    path.write_text(f"phone,max_id\n{PHONE},7\n", "utf-8")
    call_command("import_employees", str(path), "--university-id", str(university.pk), stdout=io.StringIO())
    UnresolvedName.objects.update(next_try_at=timezone.now())
    naming.retry_unresolved(float("inf"))


def retried(university: University, tmp_path: Path) -> None:
    UnresolvedName.objects.create(employee=stored(university, ProfileSource.DEFAULT), next_try_at=timezone.now())
    naming.retry_unresolved(float("inf"))


def refreshed(university: University, tmp_path: Path) -> None:
    naming.refresh(stored(university, ProfileSource.API, first_name="Олег", last_name="Сидоров").pk)


def backfilled(university: University, tmp_path: Path) -> None:
    stored(university, ProfileSource.DEFAULT)
    call_command("backfill", "start", "--reason", "r", stdout=io.StringIO())


def replaced(university: University, tmp_path: Path) -> None:
    stored(university, ProfileSource.API, first_name="Олег", last_name="Сидоров")
    call_command("backfill", "start", "--replace-names", "--reason", "r", stdout=io.StringIO())


Way = Callable[[University, Path], None]
LOOKUPS: list[Way] = [created, created_in_the_admin, imported, retried, refreshed, replaced]
WAYS: list[Way] = [*LOOKUPS, backfilled]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "percent", [100, *(pytest.param(percent, marks=pytest.mark.integration) for percent in (0, 1))]
)
def test_a_denied_university_gets_no_name_from_the_cache(
    phases: Phases, university: University, direct: FakeMax, tmp_path: Path, way: Way, percent: int
) -> None:
    phases(100, 100, percent)
    UniversityRule.objects.create(university_id=university.pk, phase=3, reason="r")
    add_profile("7")
    way(university, tmp_path)
    employee = Employee.objects.get(phone=PHONE)
    assert employee.profile_source in (ProfileSource.API, ProfileSource.DEFAULT)
    assert (employee.first_name, employee.last_name) != FROM_CACHE


@pytest.mark.parametrize("way", WAYS)
def test_a_university_that_is_let_in_gets_its_names_from_the_cache(
    phases: Phases, university: University, direct: FakeMax, tmp_path: Path, way: Way
) -> None:
    phases(100, 100, 0)
    UniversityRule.objects.create(university_id=university.pk, phase=3, is_allowed=True, reason="r")
    add_profile("7")
    way(university, tmp_path)
    employee = Employee.objects.get(phone=PHONE)
    assert (employee.first_name, employee.last_name, employee.profile_source) == (*FROM_CACHE, ProfileSource.WEBHOOK)


@pytest.mark.parametrize("way", LOOKUPS)
def test_without_a_rule_the_percentage_decides(
    phases: Phases, university: University, direct: FakeMax, tmp_path: Path, way: Way
) -> None:
    phases(100, 100, 0)
    add_profile("7")
    way(university, tmp_path)
    assert Employee.objects.get(phone=PHONE).profile_source != ProfileSource.WEBHOOK


def test_each_comparison_has_a_university(
    phases: Phases, university: University, direct: FakeMax, tmp_path: Path
) -> None:
    phases(100, 100, 0)
    retried(university, tmp_path)
    resolve(phone="+70000000000", max_id=None, university_id=None)
    assert list(WaitingComparison.objects.values_list("university_id", flat=True)) == [university.pk]
    assert batches.preview() == []
