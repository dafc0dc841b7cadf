"""What is stored about a person: who may export it, on the page and by command, as JSON and as a page to read."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from employees.models import Employee, IdempotentRequest, MaxIdClaim, Membership, University
from employees.person_export import Table
from profiles.models import DirectAnswer, PersonExport, PhoneLink, Profile, WaitingComparison
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
PHONE, ID = "+79165550142", "481516234"


@pytest.fixture
def employee(university: University) -> Employee:
    add_profile(ID, "Аполлинария", "Заиграева")
    return Employee.objects.create(phone=PHONE, max_id=ID, last_name="Заиграева", university=university)


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("export_person", *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.mark.long
@pytest.mark.parametrize("who", [("--phone", "8 916 555-01-42"), ("--user-id", ID), ("--max-id", ID)])
def test_it_works(employee: Employee, who: tuple[str, str]) -> None:
    document = json.loads(run(*who))
    assert document["person"] == {"max_id": ID, "phones": [PHONE]}
    assert document["stores"]["employees"][0]["last_name"] == "Заиграева"
    assert document["stores"]["profile_cache"][0]["first_name"] == "Аполлинария"
    assert document["stores"]["redis"][0]["max_first_name"] == "Аполлинария"
    assert PersonExport.objects.get().by.endswith("(manage.py)")


@pytest.mark.long
@pytest.mark.parametrize(
    ("language", "words"), [("ru", "хранится об этом человеке"), ("en", "stored about this person")]
)
def test_it_writes_a_page_to_read(employee: Employee, tmp_path: Path, language: str, words: str) -> None:
    file = tmp_path / "person.html"
    printed = run("--phone", PHONE, "--format", "html", "--language", language, "--output", str(file))
    page = file.read_text()
    assert words in page
    assert "Аполлинария" in page
    assert file.stat().st_mode & 0o777 == 0o600
    assert str(file) in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--phone", "12"], "phone"),
        (["--user-id", "007"], "Invalid MAX user ID"),
        (["--phone", "+12025550199"], "Nothing is stored about this person"),
        (["--user-id", "99"], "Nothing is stored about this person"),
        ([], "required"),
        (["--phone", PHONE, "--user-id", ID], "not allowed with"),
        (["--phone", PHONE, "--output", "/nowhere/person.json"], "Cannot write /nowhere/person.json"),
    ],
)
def test_it_refuses(employee: Employee, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        run(*arguments)
    assert not PersonExport.objects.exists()


def test_it_overwrites_no_file(employee: Employee, tmp_path: Path) -> None:
    file = tmp_path / "person.json"
    file.write_text("mine")
    with pytest.raises(CommandError, match="Cannot write"):
        run("--phone", PHONE, "--output", str(file))
    assert file.read_text() == "mine"


def member(*groups: str, university: University | None = None, **fields: Any) -> Client:
    user = User.objects.create_user("-".join(groups) or "root", is_staff=True, **fields)
    user.groups.add(*Group.objects.filter(name__in=groups))
    if university:
        Membership.objects.create(user=user, university=university)
    client = Client()
    client.force_login(user)
    client.cookies["django_language"] = "en"
    return client


EXPORT = "/admin/person/export/"


def test_a_button_on_the_person_page_exports(employee: Employee) -> None:
    officer = member("data_protection_officer")
    page = officer.post("/admin/person/", {"who": PHONE}).content.decode()
    assert f'action="{EXPORT}"' in page
    assert f'name="phone" value="{PHONE}"' in page
    shown = officer.post(EXPORT, {"phone": PHONE, "max_id": ID}).content.decode()
    assert "Аполлинария" in shown
    answer = officer.post(EXPORT, {"phone": PHONE, "max_id": ID, "format": "json"})
    assert "attachment" in answer["Content-Disposition"]
    assert answer.json()["person"] == {"max_id": ID, "phones": [PHONE]}
    assert PersonExport.objects.count() == 2
    audit = officer.get("/admin/audit/?kind=export")
    assert "data_protection_officer" in audit.content.decode()


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ('{"user": {"first_name": "Анна"}}', [("Body → User → First name", "Анна")]),
        ('{"items": [1, {"a_b": []}]}', [("Body → Items → 1", 1), ("Body → Items → 2 → A b", None)]),
        ("2026-11-17T16:09:07Z", [("Body", datetime(2026, 11, 17, 16, 9, 7, tzinfo=UTC))]),
        ("{not JSON", [("Body", "{not JSON")]),
        ("2026-99-17T16:09:07Z", [("Body", "2026-99-17T16:09:07Z")]),
        ("{}", [("Body", None)]),
    ],
)
def test_a_page_shows_json_by_its_values(stored: str, shown: list[tuple[str, Any]]) -> None:
    assert Table("t", "T", [{"body": stored}], {}).labelled() == [shown]


def test_a_page_shows_deep_json_as_it_is() -> None:
    [[(label, value)]] = Table("t", "T", [{"body": '{"a":' * 900 + "1" + "}" * 900}], {}).labelled()
    assert label.count("→") == 20
    assert isinstance(value, dict)


@pytest.mark.parametrize("group", ["operator", "rollout_manager", "viewer", "curator"])
def test_only_who_answers_for_personal_data_may(employee: Employee, group: str) -> None:
    client = member(group)
    assert EXPORT not in client.post("/admin/person/", {"who": PHONE}).content.decode()
    assert client.post(EXPORT, {"phone": PHONE}).status_code == 403
    assert not PersonExport.objects.exists()


@pytest.mark.long
def test_a_membership_limits_it(employee: Employee, university: University) -> None:
    other = University.objects.create(name="Другой")
    officer = member("data_protection_officer", university=other)
    # The same person works at the other university too, under another phone.
    for query in ({"phone": PHONE}, {"max_id": ID}, {"phone": "", "max_id": ""}, {"phone": "x" * 99}):
        page = officer.post(EXPORT, query, follow=True).content.decode()
        assert "Nothing is stored about this person." in page
        assert "Заиграева" not in page
    assert not PersonExport.objects.exists()
    Employee.objects.create(phone="+12025550143", max_id=ID, last_name="Второе место", university=other)
    # What the tables hold about the place at the first university.
    now, answer = timezone.now(), {"id": employee.pk, "max_id": ID, "phone": PHONE}
    PhoneLink.objects.create(phone=PHONE, user_id=ID, observed_at=now)
    DirectAnswer.objects.create(phone=PHONE, user_id=ID, asked_at=now, outcome="found")
    WaitingComparison.objects.create(phone=PHONE, max_id=ID, stage=3, served_source="api", served_ms=1)
    owner = User.objects.get()
    IdempotentRequest.objects.create(user=owner, key="k", fingerprint="f", status=201, answer=answer)
    stores = officer.post(EXPORT, {"phone": "+12025550143", "format": "json"}).json()["stores"]
    assert [row["last_name"] for row in stores["employees"]] == ["Второе место"]
    assert stores["profile_cache"][0]["first_name"] == "Аполлинария"
    assert PHONE not in json.dumps(stores)


def test_a_foreign_phone_beside_an_own_id_is_left_out(employee: Employee, university: University) -> None:
    own = University.objects.create(name="Другой")
    Employee.objects.create(phone="+12025550143", max_id="77", last_name="Своя", university=own)
    DirectAnswer.objects.create(phone=PHONE, user_id=ID, asked_at=timezone.now(), outcome="found")
    officer = member("data_protection_officer", university=own)
    exported = officer.post(EXPORT, {"phone": PHONE, "max_id": "77", "format": "json"}).json()
    assert "Своя" in json.dumps(exported, ensure_ascii=False)
    assert PHONE not in json.dumps(exported)
    assert ID not in json.dumps(exported)


@pytest.mark.long
@pytest.mark.parametrize("surface", ["patch", "create"])
@pytest.mark.parametrize("is_limited", [False, True])
def test_a_claimed_id_identifies_nobody_on_page_button_and_command(
    employee: Employee, surface: str, is_limited: bool
) -> None:
    """Whoever looks: the page, its button and the command show the same person."""
    own, claimant = University.objects.create(name="Другой"), "+12025550143"
    curator = APIClient()
    user = User.objects.create_user("curator")
    user.groups.add(Group.objects.get(name="curator"))
    Membership.objects.create(user=user, university=own)
    curator.force_authenticate(user)
    claim = {"max_id": ID}
    fields = {"phone": claimant, "first_name": "Пётр", "last_name": "Сидоров"} | (claim if surface == "create" else {})
    created = curator.post("/employees", fields, format="json").json()
    assert surface == "create" or curator.patch(f"/employees/{created['id']}", claim, format="json").status_code == 200
    officer = member("data_protection_officer", university=own if is_limited else None)

    page = officer.post("/admin/person/", {"who": claimant}).content.decode()
    assert f"{ID}: entered by hand, not confirmed" in page
    assert ("Сидоров" in page, "Аполлинария" in page, "Заиграева" in page) == (True, False, False)
    assert f"/profile/{ID}/" not in page
    hidden = dict(re.findall(r'type="hidden" name="(phone|max_id)" value="([^"]*)"', page))
    assert hidden == {"phone": claimant, "max_id": ""}
    by_button = officer.post(EXPORT, hidden | {"format": "json"}).json()
    # A page from before the upgrade still sends the claimed ID.
    by_old_button = officer.post(EXPORT, hidden | claim | {"format": "json"}).json()
    for exported in (by_button, by_old_button, json.loads(run("--phone", claimant))):
        assert exported["person"] == {"max_id": "", "phones": [claimant]}
        assert [row["last_name"] for row in exported["stores"]["employees"]] == ["Сидоров"]
        assert not exported["stores"].keys() & {"profile_cache", "redis"}

    match = officer.post("/admin/person/", {"who": ID}).context["match"]
    assert (match.phone, match.max_id) == ((claimant, "") if is_limited else (PHONE, ID))


@pytest.mark.parametrize(("has_profile", "found"), [(True, ("", ID)), (False, (PHONE, ""))])
def test_a_search_by_a_claimed_id_finds_its_person_first(employee: Employee, has_profile: bool, found: Any) -> None:
    """The person with the ID need not be an employee; the employee is found if nothing else has the ID."""
    Employee.objects.update(max_id_updated_at=timezone.now() + timedelta(minutes=1))
    MaxIdClaim.objects.create(employee=employee, max_id=ID, is_vouched=False)
    if not has_profile:
        Profile.objects.all().delete()
    officer = member("data_protection_officer")
    match = officer.post("/admin/person/", {"who": ID}).context["match"]
    assert (match.phone, match.max_id) == found


def test_a_get_exports_nothing(employee: Employee) -> None:
    officer = member("data_protection_officer")
    assert officer.get(EXPORT, {"phone": PHONE}).status_code == 302
    assert not PersonExport.objects.exists()
