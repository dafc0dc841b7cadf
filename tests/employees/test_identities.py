"""An export follows a person through earlier phones and MAX IDs and a deleted employee, and stops at other people."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.utils import timezone

from employees import person_export
from employees.accounts import Group, UserScope
from employees.backfill import batches
from employees.history.models import EmployeeVersion, FormerMaxIdClaim
from employees.models import BackfillBatch, Employee, IdempotentRequest, MaxIdClaim, University, UnresolvedName
from profiles.comparison import hash_of as hash_of_phone
from profiles.models import (
    Comparison,
    DirectAnswer,
    Erasure,
    PersonExport,
    PhoneLink,
    Profile,
    Tombstone,
    WaitingComparison,
)
from profiles.models.tombstones import hash_of
from profiles.personal_data import STORES
from tests.profiles.all_stores import add_update, message
from tests.profiles.people import add_profile
from webhooks.models import DuplicateDelivery, InboxUpdate, PayloadAccess, Replay

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
EVERYBODY = UserScope(Group.SUPERADMIN)
OLD_PHONE, PHONE, OLD_ID, ID = "+12025550101", "+12025550102", "7", "8"
# Rows that only exist together with the employee.
OF_PRESENT_EMPLOYEES: set[type[Model]] = {Employee, UnresolvedName, MaxIdClaim}


def export(scope: UserScope = EVERYBODY, **query: str) -> dict[str, list[dict[str, Any]]]:
    person = person_export.identify(scope, **query)
    if person is None:
        return {}
    stores: dict[str, Any] = json.loads(person_export.as_json(person, person_export.export(person, by="t")))["stores"]
    return stores


@pytest.fixture
def employee(university: University) -> Employee:
    """Return an employee whose phone and MAX ID have both changed."""
    employee = Employee.objects.create(phone=OLD_PHONE, max_id=OLD_ID, last_name="Ким", university=university)
    employee.phone, employee.max_id = PHONE, ID
    employee.save()
    return employee


def fill_all_stores(employee: Employee) -> None:
    """Store one row about the employee in each table, by the earlier phone or MAX ID where the table has one."""
    now = timezone.now()
    add_profile(OLD_ID, "Анна", "Ким")
    DirectAnswer.objects.create(phone=OLD_PHONE, user_id="", asked_at=now, outcome="absent")
    PhoneLink.objects.create(phone=OLD_PHONE, user_id=OLD_ID, observed_at=now)
    lookup = {"stage": 3, "served_source": "api", "served_ms": 1}
    WaitingComparison.objects.create(phone=OLD_PHONE, **lookup)
    Comparison.objects.create(key_hash=hash_of_phone(OLD_PHONE), bucket=1, outcome="agree", at=now, **lookup)
    Tombstone.objects.create(key=hash_of(OLD_ID), erased_at=now)
    Erasure.objects.create(by="t", reason="r", person=hash_of(OLD_ID))
    PersonExport.objects.create(by="earlier", person=hash_of(OLD_PHONE))
    root = User.objects.create_superuser("root")
    of_employees = ContentType.objects.get_for_model(Employee)
    entry = {"content_type": of_employees, "object_id": str(employee.pk), "object_repr": "Ким", "user": root}
    LogEntry.objects.create(action_flag=DELETION, **entry)
    answer = {"id": employee.pk, "phone": OLD_PHONE}
    IdempotentRequest.objects.create(user=root, key="k", fingerprint="f", status=201, answer=answer)
    names = ["А", "Б", "", "default", None, None]
    BackfillBatch.objects.create(
        run=batches.start(), after_id=0, until_id=employee.pk, changes=[[employee.pk, names, names]]
    )
    UnresolvedName.objects.create(employee=employee, next_try_at=now)
    MaxIdClaim.objects.create(employee=employee, max_id=ID)
    FormerMaxIdClaim.objects.create(employee_id=employee.pk, max_id="77")
    update = add_update(message(int(OLD_ID)), "done", user_id=OLD_ID)
    PayloadAccess.objects.create(by="root", reason="r", inbox_update_id=update.pk, update_type="x")
    DuplicateDelivery.objects.create(dedup_key=bytes(update.dedup_key), update_type="x", received_at=now)
    Replay.objects.create(by="root", selection=f"q={OLD_ID}", reason="r", count=1)


SEEDS = [{"phone": PHONE}, {"phone": OLD_PHONE}, {"user_id": ID}, {"user_id": OLD_ID}]


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS, ids=str)
@pytest.mark.parametrize("is_deleted", [False, True])
def test_it_works(employee: Employee, seed: dict[str, Any], is_deleted: bool) -> None:
    """Every table of the list appears, from each thing that a person may be asked for."""
    fill_all_stores(employee)
    if is_deleted:
        employee.delete()
    expected = {model._meta.db_table for model in STORES if not (is_deleted and model in OF_PRESENT_EMPLOYEES)}
    found = export(**seed)
    assert set(found) == expected | {"redis"}
    assert "earlier" in json.dumps(found["person_exports"])
    assert {row["phone"] for row in found["employee_history_historicalemployee"]} == {OLD_PHONE, PHONE}


def test_other_ids_are_named(employee: Employee) -> None:
    person = person_export.identify(EVERYBODY, phone=PHONE)
    assert person
    document = json.loads(person_export.as_json(person, []))["person"]
    assert document == {"max_id": ID, "other_max_ids": [OLD_ID], "phones": [OLD_PHONE, PHONE]}


def linked_elsewhere(university: University) -> None:
    PhoneLink.objects.create(phone=OLD_PHONE, user_id="99", observed_at=timezone.now())
    PhoneLink.objects.create(phone="+12025550199", user_id=OLD_ID, observed_at=timezone.now())


def employed_elsewhere(university: University) -> None:
    Employee.objects.create(phone=OLD_PHONE, max_id=OLD_ID, last_name="Чужая", university=university)


def employed_and_deleted_since(university: University) -> None:
    Employee.objects.create(phone=OLD_PHONE, max_id=OLD_ID, last_name="Чужая", university=university).delete()


@pytest.mark.long
@pytest.mark.parametrize("take_over", [linked_elsewhere, employed_elsewhere, employed_and_deleted_since])
def test_what_somebody_else_has_now_is_not_followed(employee: Employee, university: University, take_over: Any) -> None:
    take_over(university)
    add_profile(OLD_ID, "Чужая", "Тайна")
    DirectAnswer.objects.create(phone=OLD_PHONE, first_name="Чужая", asked_at=timezone.now(), outcome="found")
    seeds: list[dict[str, Any]] = [{"phone": PHONE}, {"user_id": ID}]
    for seed in seeds:
        found = export(**seed)
        assert "Чужая" not in json.dumps(found, ensure_ascii=False)
        assert [row["phone"] for row in found["employees"]] == [PHONE]


@pytest.mark.long
def test_a_claimed_id_is_not_followed(university: University) -> None:
    """Entered later, by a curator, although it is the ID of another university's employee."""
    other = University.objects.create(name="Чужой")
    add_profile("9", "Чужая", "Тайна")
    Employee.objects.create(phone="+12025550109", max_id="9", last_name="Чужая", university=other)
    claimer = Employee.objects.create(phone=PHONE, max_id="9", last_name="Ким", university=university)
    MaxIdClaim.objects.create(employee=claimer, max_id="9")
    assert "Чужая" not in json.dumps(export(phone=PHONE), ensure_ascii=False)
    assert Profile.objects.count() == 1


@pytest.mark.long
def test_a_limited_officer_exports_a_former_employee(employee: Employee, university: University) -> None:
    fill_all_stores(employee)
    employee.delete()
    own, foreign = (UserScope(Group.OPERATOR, pk) for pk in (university.pk, University.objects.create(name="Ч").pk))
    for phone in (PHONE, OLD_PHONE):
        found = export(own, phone=phone)
        assert {"employee_history_historicalemployee", "django_admin_log", "idempotent_requests"} <= set(found)
        assert export(foreign, phone=phone) == {}


def test_a_limited_officer_sees_no_later_place(employee: Employee, university: University) -> None:
    other = University.objects.create(name="Ч")
    employee.university, employee.last_name = other, "Позже"
    employee.save()
    assert export(UserScope(Group.OPERATOR, university.pk), phone=PHONE) == {}
    found = export(UserScope(Group.OPERATOR, other.pk), phone=PHONE)
    assert {row["last_name"] for row in found["employee_history_historicalemployee"]} == {"Позже"}
    assert EmployeeVersion.objects.count() == 3


@pytest.mark.long
def test_the_updates_of_both_accounts_appear(employee: Employee) -> None:
    for user_id in (OLD_ID, ID):
        add_update(message(int(user_id)), "done", user_id=user_id)
    assert {row["user_id"] for row in export(phone=PHONE)["webhook_inbox"]} == {OLD_ID, ID}
    assert InboxUpdate.objects.count() == 2
