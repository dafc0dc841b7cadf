"""The list of all tables with data of people: the erasure and the export cover each of them."""

from __future__ import annotations

import json

import pytest
from django.apps import apps
from django.db import connection
from pytest_django.fixtures import Settings
from redis import Redis
from rest_framework.test import APIClient

from employees import person_export
from employees.accounts import Group, UserScope
from employees.history.models import FormerMaxIdClaim
from employees.models import Employee, MaxIdClaim, University
from profiles.models import Comparison, PersonExport
from profiles.personal_data import STORES
from tests.profiles.all_stores import ALL_STORES, FIRST, ID, LAST, OWN, PHONE, TOKEN, person_in_all_stores
from webhooks.models import DuplicateDelivery, InboxUpdate, PayloadAccess, Replay

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]
EVERYBODY = UserScope(Group.SUPERADMIN)
# Apps and tables without data of the directory's people. Accounts, log-ins and sessions are those of operators.
OF_OPERATORS = {
    "account",
    "auth",
    "axes",
    "credentials",
    "mfa",
    "sessions",
    "socialaccount",
    "token_blacklist",
    "contenttypes",
    "waffle",
    "rollout",
    "monitoring",
}
OF_NOBODY = {
    "backfill_runs",  # counts
    "cache_generation",  # which Redis server is served
    "direct_api_pace",
    "django_migrations",
    "import_files",  # files of an hour at most, which nobody can search for a person
    "employee_history_historicaluniversity",
    "max_id_jobs",  # counts
    "memberships",  # of operators
    # Kept for the previous release only: numbers.
    "monitoring_snapshot",
    "universities",
    # waffle's own model of flags, which ours replaces.
    "waffle_flag",
    "waffle_flag_groups",
    "waffle_flag_users",
    "webhook_refused_types",
}


@pytest.fixture
def employee(university: University, api: APIClient, settings: Settings) -> Employee:
    """Return an employee who is a person with data in every table of the list."""
    settings.MAX_BOT_TOKEN = TOKEN
    person = person_in_all_stores(university, api)
    MaxIdClaim.objects.create(employee=person, max_id=ID)
    FormerMaxIdClaim.objects.create(employee_id=person.pk, max_id="77")
    update = InboxUpdate.objects.filter(user_id=ID).earliest("pk")
    access = {"by": "root", "reason": "r", "inbox_update_id": update.pk, "update_type": "x"}
    PayloadAccess.objects.create(**access)
    repeat = {"dedup_key": bytes(update.dedup_key), "update_type": "x", "received_at": update.received_at}
    DuplicateDelivery.objects.create(**repeat)
    Replay.objects.create(by="root", selection=f"q={ID}", reason="r", count=1)
    return person


def exported() -> dict[str, object]:
    person = person_export.identify(EVERYBODY, user_id=ID)
    assert person
    text = person_export.as_json(person, person_export.export(person, by="test"))
    document: dict[str, object] = json.loads(text)["stores"]
    return document


def test_every_table_is_registered_or_about_nobody() -> None:
    """A new table fails this test until it is registered, or listed above."""
    registered = {model._meta.db_table for model in STORES}
    of_operators = {model._meta.db_table for model in apps.get_models(include_auto_created=True)
                    if model._meta.app_label in OF_OPERATORS}  # fmt: skip
    assert registered & (of_operators | OF_NOBODY) == set()
    with connection.cursor() as cursor:
        there = set(connection.introspection.table_names(cursor))
    assert there - registered - of_operators == OF_NOBODY


@pytest.mark.long
def test_every_store_is_exported_and_erased(api: APIClient, employee: Employee, redis: Redis) -> None:
    exported()
    before = exported()
    registered = {model._meta.db_table for model in STORES}
    assert set(before) == (registered | {"redis"}) - {"tombstones", "erasures"}
    assert set(before) >= ALL_STORES
    assert any(name in json.dumps(before, ensure_ascii=False) for name in (FIRST, LAST, OWN))
    assert api.delete(f"/profiles/{ID}").status_code == 204
    after = exported()
    assert {"tombstones", "erasures"} <= set(after)
    assert not [name for name in (FIRST, LAST, OWN) if name in json.dumps(after, ensure_ascii=False)]


def test_it_leaves_out_other_people(api: APIClient, employee: Employee, university: University) -> None:
    Employee.objects.create(phone="+12025550177", max_id="9", first_name="Посторонний", university=university)
    stores = json.dumps(exported(), ensure_ascii=False)
    assert "Посторонний" not in stores
    # An update of another person is shown only as far as it mentions this one.
    assert "Олег" not in stores
    assert PHONE in stores


def test_an_export_is_recorded_for_good(employee: Employee) -> None:
    exported()
    row = PersonExport.objects.get()
    assert (row.by, row.counts["employees"]) == ("test", 2)
    assert ID not in row.person
    assert Comparison.objects.exists()
    with pytest.raises(Exception, match="never edited"), connection.cursor() as cursor:
        cursor.execute("DELETE FROM person_exports")
