"""What is stored about a person: who may export it, on the page and by command, as JSON and as a page to read."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from employees.models import Employee, IdempotentRequest, Membership, University
from profiles.models import DirectAnswer, PersonExport, PhoneLink, WaitingComparison
from tests.profiles.people import add_profile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
PHONE, ID = "+79165550142", "4815162342"


@pytest.fixture
def employee(university: University) -> Employee:
    add_profile(ID, "Аполлинария", "Заиграева")
    return Employee.objects.create(phone=PHONE, max_id=ID, last_name="Заиграева", university=university)


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("export_person", *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.mark.parametrize("who", [("--phone", "8 916 555-01-42"), ("--user-id", ID), ("--max-id", ID)])
def test_it_works(employee: Employee, who: tuple[str, str]) -> None:
    document = json.loads(run(*who))
    assert document["person"] == {"max_id": ID, "phones": [PHONE]}
    assert document["stores"]["employees"][0]["last_name"] == "Заиграева"
    assert document["stores"]["profile_cache"][0]["first_name"] == "Аполлинария"
    assert document["stores"]["redis"][0]["max_first_name"] == "Аполлинария"
    assert PersonExport.objects.get().by.endswith("(manage.py)")


@pytest.mark.parametrize(("language", "words"), [("ru", "сведения о человеке"), ("en", "stored about this person")])
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


@pytest.mark.parametrize("group", ["operator", "rollout_manager", "viewer", "curator"])
def test_only_who_answers_for_personal_data_may(employee: Employee, group: str) -> None:
    client = member(group)
    assert EXPORT not in client.post("/admin/person/", {"who": PHONE}).content.decode()
    assert client.post(EXPORT, {"phone": PHONE}).status_code == 403
    assert not PersonExport.objects.exists()


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


def test_a_get_exports_nothing(employee: Employee) -> None:
    officer = member("data_protection_officer")
    assert officer.get(EXPORT, {"phone": PHONE}).status_code == 302
    assert not PersonExport.objects.exists()
