"""University rules hold wherever a name is chosen: each way to a name, under each rule."""

import io
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from django.utils import timezone

from employees import naming
from employees.backfill import batches
from employees.models import Employee, University, UnresolvedName
from monitoring.rollout_control import preview
from monitoring.stats import reports
from profiles.lookup import resolve
from profiles.max_api import users
from profiles.models import ProfileSource, WaitingComparison
from profiles.rollout.decision import bucket
from profiles.rollout.models import Flag, UniversityRule
from profiles.rollout.phases import PHASES
from tests.conftest import Phases, client_of
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
PHONE = "+79160000001"
FROM_CACHE = ("Иван", "Петров")


def stored(university: University, source: ProfileSource, **names: str) -> Employee:
    fields = {"phone": PHONE, "max_id": "7", "university": university, "profile_source": source}
    return Employee.objects.create(**fields, **names)


def is_named_by_cache() -> bool:
    employee = Employee.objects.get(phone=PHONE)
    is_cached = employee.profile_source == ProfileSource.WEBHOOK
    assert is_cached == ((employee.first_name, employee.last_name) == FROM_CACHE)
    return is_cached


def created(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    body = {"phone": PHONE, "max_id": "7", "university_id": university.pk}
    answer = client_of(User.objects.get(username="root")).post("/employees", body, format="json")
    assert answer.status_code == 201
    return is_named_by_cache()


def created_in_the_admin(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    client = Client()
    client.force_login(User.objects.get(username="root"))
    names = {"last_name": "", "first_name": "", "middle_name": "", "role": ""}
    form = names | {"phone": PHONE, "max_id": "7", "university": university.pk}
    assert client.post("/admin/employees/employee/add/", form).status_code == 302
    return is_named_by_cache()


def imported(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    path = tmp_path / "employees.csv"
    path.write_text(f"phone,max_id\n{PHONE},7\n", "utf-8")
    call_command("import_employees", str(path), "--university-id", str(university.pk), stdout=io.StringIO())
    UnresolvedName.objects.update(next_try_at=timezone.now())
    naming.retry_unresolved(float("inf"))
    return is_named_by_cache()


def retried(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    UnresolvedName.objects.create(employee=stored(university, ProfileSource.DEFAULT), next_try_at=timezone.now())
    naming.retry_unresolved(float("inf"))
    return is_named_by_cache()


def refreshed(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    naming.refresh(stored(university, ProfileSource.API, first_name="Олег", last_name="Сидоров").pk)
    return is_named_by_cache()


def backfilled(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    stored(university, ProfileSource.DEFAULT)
    call_command("backfill", "start", "--reason", "r", stdout=io.StringIO())
    return is_named_by_cache()


def replaced(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    stored(university, ProfileSource.API, first_name="Олег", last_name="Сидоров")
    call_command("backfill", "start", "--replace-names", "--reason", "r", stdout=io.StringIO())
    return is_named_by_cache()


def answered_late(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    """Create without an ID while the direct API fails; its answer, which has the ID, comes with the retry."""
    direct.status = 503
    client = client_of(User.objects.get(username="root"))
    answer = client.post("/employees", {"phone": PHONE, "university_id": university.pk}, format="json")
    assert answer.status_code == 201
    assert Employee.objects.get(phone=PHONE).profile_source == ProfileSource.DEFAULT
    direct.status = 200
    direct.knows(PHONE, 7)
    users.breaker.close()
    UnresolvedName.objects.update(next_try_at=timezone.now())
    naming.retry_unresolved(float("inf"))
    return is_named_by_cache()


def would_be_backfilled(university: University, source: ProfileSource, *options: str) -> bool:
    """Return whether each dry run, of the code, of the command and of the form, changes the employee."""
    stored(university, source, first_name="Олег", last_name="Сидоров")
    out = io.StringIO()
    call_command("backfill", "start", "--dry-run", *options, stdout=out)
    client = Client()
    client.force_login(User.objects.get(username="root"))
    form = client.get(f"/admin/employees/backfillrun/add/preview/{'?replaces_names=on' if options else ''}")
    [(_, _, counted)] = [out.getvalue().partition("Rows that would change: ")]
    answers = {
        len(batches.preview_names(replaces_names=bool(options), limit=0).rows),
        int(counted.partition(",")[0]),
        form.context["preview"].total,
    }
    assert len(answers) == 1
    return answers == {1}


def dry_backfill(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    return would_be_backfilled(university, ProfileSource.DEFAULT)


def dry_replacement(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    return would_be_backfilled(university, ProfileSource.API, "--replace-names")


def recommended(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    """Return whether the quality report counts the name, and recommends its backfill."""
    stored(university, ProfileSource.DEFAULT)
    report = reports.quality()
    counts = {issue["count"] for issue in report["data_issues"] if issue["type"] == "names_to_backfill"}
    is_recommended = any("backfill start" in text for text in report["recommended_actions"])
    assert (counts == {1}) == is_recommended
    return is_recommended


def found_on_the_person_page(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    stored(university, ProfileSource.API, first_name="Олег", last_name="Сидоров")
    client = Client()
    client.force_login(User.objects.get(username="root"))
    lookup = client.post("/admin/person/", {"who": PHONE}).context["match"].lookup
    assert (lookup["stage"] >= 3) == ("Иван Петров" in lookup["served"])
    return "Иван Петров" in str(lookup["served"])


def counted_as_served(university: University, direct: FakeMax, tmp_path: Path) -> bool:
    stored(university, ProfileSource.API, first_name="Олег", last_name="Сидоров")
    return preview.people_served() == 1


Way = Callable[[University, FakeMax, Path], bool]
# Names of people who have one: the percentage or a rule decides.
LOOKUPS: list[Way] = [
    created, created_in_the_admin, imported, retried, answered_late, refreshed, replaced, dry_replacement,
    found_on_the_person_page, counted_as_served,
]  # fmt: skip
# Names of people without one: only a denial keeps the cache from them.
NAMELESS: list[Way] = [backfilled, dry_backfill, recommended]


@pytest.mark.parametrize("way", [*LOOKUPS, *NAMELESS])
def test_rules_hold_wherever_a_name_is_chosen(
    phases: Phases, superadmin: User, direct: FakeMax, tmp_path: Path, way: Way
) -> None:
    """Each way to a name, in a denied, an allowed and another university, at each percentage, with both rules."""
    ruled = {name: University.objects.create(name=name) for name in ("denied", "allowed", "free")}
    for name in ("denied", "allowed"):
        UniversityRule.objects.create(university_id=ruled[name].pk, phase=3, is_allowed=name == "allowed", reason="r")
    add_profile("7")
    place = bucket(Flag.objects.get(name=PHASES[2]).salt, PHONE)
    wrong = {}
    for percent, (name, university) in product((0, 50, 100), ruled.items()):
        expected = {"denied": False, "allowed": True}.get(name, way in NAMELESS or place < 100 * percent)
        with transaction.atomic():
            phases(100, 100, percent)
            direct.users, direct.status = [], 200
            if way(university, direct, tmp_path) != expected:
                wrong[name, percent] = f"by the cache: {not expected}"
            transaction.set_rollback(True)
    assert wrong == {}


def test_each_comparison_has_a_university(
    phases: Phases, university: University, direct: FakeMax, tmp_path: Path
) -> None:
    phases(100, 100, 0)
    retried(university, direct, tmp_path)
    resolve(phone="+70000000000", max_id=None, university_id=None)
    assert list(WaitingComparison.objects.values_list("university_id", flat=True)) == [university.pk]
    assert batches.preview_names(limit=0).rows == []
