"""Universities whose names look the same: import, API and admin use the existing one or refuse another."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from config.lib import text as texts
from employees.models import Employee, University
from tests.employees.conftest import AsRole

CASES = Path(__file__).parents[1] / "cases"
NAME = "Вуз ошибок"
LOOK_ALIKES = [
    "Вуз  ошибок",
    "Вуз\u00a0ошибок",
    " Вуз\tошибок ",
    "Вуз\u200b ошибок\ufeff",
    "Ву\u00adз ошибок",
    "\u202eВуз ошибок",
    "ВУЗ ОШИБОК",
    "Вуз\u2007ошибок",
    "Вуз\u2800ошибок",
    "Вуз ошиб\ufe0fок",
    "Вуз ошибок\U000e0100",
]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cache_first")]


@pytest.fixture
def existing(db: None) -> University:
    return University.objects.create(name=NAME)


@pytest.mark.parametrize("case", ["university-double-space.csv", "university-nbsp.csv"])
def test_an_import_uses_the_existing_one(existing: University, case: str) -> None:
    call_command("import_employees", CASES / case, stdout=StringIO())
    assert Employee.objects.get().university == existing
    assert University.objects.count() == 1


def test_an_employee_gets_the_existing_one(api: APIClient, existing: University) -> None:
    for number, name in enumerate(LOOK_ALIKES):
        body = {"phone": f"+791609000{number:02}", "university_name": name}
        assert api.post("/employees", body, format="json").json()["university_id"] == existing.pk, name
        assert University.objects.described(inn="", kpp="", university_name=name) == existing, name


def test_the_api_refuses_another(api: APIClient, existing: University) -> None:
    for name in LOOK_ALIKES:
        answer = api.post("/universities", {"name": name}, format="json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ALREADY_EXISTS"), name
        assert api.post("/universities", {"name": name, "inn": "7701234567"}, format="json").status_code == 201, name
        University.objects.exclude(pk=existing.pk).delete()


def imported(tmp_path: Path, row: str) -> str:
    """Import one row; return the error."""
    file, out = tmp_path / "people.csv", StringIO()
    file.write_text(f"phone,last_name,university_name,inn,kpp\n+79160900099,Ким,{row}\n")
    try:
        call_command("import_employees", str(file), stdout=out, stderr=out)
    except CommandError:
        return out.getvalue()
    return ""


def test_a_new_inn_makes_a_branch_beside_one_with_an_inn(api: APIClient, existing: University) -> None:
    University.objects.update(inn="7736050003", kpp="773601001")
    for inn, kpp in (("7736050003", "773601002"), ("7736050010", "")):
        assert api.post("/universities", {"name": NAME, "inn": inn, "kpp": kpp}, format="json").status_code == 201


@pytest.mark.parametrize("spelling", [NAME, NAME.upper(), "Вуз  oшибoк"])
@pytest.mark.parametrize("inns", [("7736050003", "7736050003"), ("7736050003", "7736050010")])
def test_the_name_of_several_branches_names_none(
    api: APIClient, spelling: str, inns: tuple[str, str], tmp_path: Path
) -> None:
    branches = [
        University.objects.create(name=NAME, inn=inn, kpp=f"77360100{number}" if inn else "")
        for number, inn in enumerate(inns)
    ]
    body = {"phone": "+79160900099", "university_name": spelling}
    answer = api.post("/employees", body, format="json", headers={"accept-language": "en"})
    message = "Several universities have this name. Provide university_id, or inn and kpp."
    assert (answer.status_code, answer.json()["error"]["details"]) == (400, {"university_name": [message]})
    error = imported(tmp_path, f"{spelling},,")
    assert "Row 2: university_name: Several universities have this name. Enter the INN and KPP" in error
    assert not Employee.objects.exists()
    assert api.post("/universities", {"name": spelling}, format="json").status_code == 409
    second = branches[1]
    assert imported(tmp_path, f"{spelling},{second.inn},{second.kpp}") == ""
    assert Employee.objects.get().university == second
    moved = api.patch(f"/employees/{Employee.objects.get().pk}", {"university_id": branches[0].pk}, format="json")
    assert moved.json()["university"]["id"] == branches[0].pk


def test_a_name_alone_means_the_university_without_an_inn(api: APIClient) -> None:
    """A client that sends an INN does not lock out those that send names."""
    University.objects.create(name=NAME, inn="7736050003")
    plain = University.objects.create(name=NAME)
    body = {"phone": "+79160900099", "university_name": NAME.upper()}
    assert api.post("/employees", body, format="json").json()["university_id"] == plain.pk


def test_a_curator_means_the_own_branch(as_role: AsRole) -> None:
    own, _other = (University.objects.create(name=NAME, inn="7736050003", kpp=f"77360100{n}") for n in (1, 2))
    body = {"phone": "+79160900099", "university_name": NAME.upper()}
    assert as_role("curator", own).post("/employees", body, format="json").json()["university_id"] == own.pk


@pytest.mark.long
@pytest.mark.parametrize("numbers", [{}, {"inn": "7736050003"}, {"inn": "7736050003", "kpp": "773601001"}])
def test_all_surfaces_agree_on_what_exists(
    api: APIClient, client: Client, superadmin: User, tmp_path: Path, numbers: dict[str, str]
) -> None:
    """A description means the same university for the API, the admin, an employee and an import."""
    existing = University.objects.create(name=NAME, **numbers)
    client.force_login(superadmin)
    descriptions = [{"name": name, "inn": "", "kpp": ""} for name in (NAME, *LOOK_ALIKES)]
    descriptions += [{"inn": "", "kpp": "", **numbers, "name": "Другой"}] if numbers else []
    for number, fields in enumerate(descriptions):
        assert api.post("/universities", fields, format="json").status_code == 409, fields
        assert client.post("/admin/employees/university/add/", fields).status_code == 200, fields
        described = {"university_name": fields["name"], "inn": fields["inn"], "kpp": fields["kpp"]}
        assert University.objects.described(**described) == existing, fields
        body = {"phone": f"+791609000{number:02}", **described}
        assert api.post("/employees", body, format="json").json()["university_id"] == existing.pk, fields
    file = tmp_path / "e.csv"
    file.write_text(f"phone,university_name\n+79160910000,{NAME.upper()}\n")
    call_command("import_employees", file, stdout=StringIO())
    assert University.objects.get() == existing


def test_the_admin_refuses_another(client: Client, superadmin: User, existing: University) -> None:
    client.force_login(superadmin)
    for name in LOOK_ALIKES:
        answer = client.post("/admin/employees/university/add/", {"name": name, "inn": "", "kpp": ""})
        assert answer.context["adminform"].form.errors.keys() == {"name"}, name


@pytest.mark.parametrize("name", ["\u200b", " \u00a0", "\x1b"])
def test_a_name_of_nothing_is_refused(api: APIClient, name: str) -> None:
    assert api.post("/universities", {"name": name}, format="json").status_code == 400
    answer = api.post("/employees", {"phone": "+79160900031", "university_name": name}, format="json")
    assert answer.status_code == 400


SIGNS = ["—", "-", "...", "…", "№", "«»", "(?)", "\u3164"]


def test_a_name_of_signs_is_refused(client: Client, superadmin: User, api: APIClient) -> None:
    client.force_login(superadmin)
    for name in SIGNS:
        assert api.post("/universities", {"name": name}, format="json").status_code == 400, name
        body = {"phone": "+79160900031", "university_name": name}
        assert api.post("/employees", body, format="json").status_code == 400, name
        answer = client.post("/admin/employees/university/add/", {"name": name, "inn": "", "kpp": ""})
        assert answer.context["adminform"].form.errors.keys() == {"name"}, name
        assert not University.objects.exists(), name


@pytest.mark.parametrize("name", SIGNS)
def test_an_import_takes_signs_for_an_empty_cell(existing: University, tmp_path: Path, name: str) -> None:
    file, out = tmp_path / "people.csv", StringIO()
    file.write_text(f"phone,last_name,university_name\n+79160900031,Ким,{name}\n")
    with pytest.raises(CommandError, match="Nothing was imported"):
        call_command("import_employees", str(file), stdout=out, stderr=out)
    assert "Row 2: university_name: A new employee needs a university" in out.getvalue()
    Employee.objects.create(phone="+79160900031", university=existing)
    call_command("import_employees", str(file), stdout=StringIO())
    assert Employee.objects.get().university == existing
    assert University.objects.get() == existing


def test_an_earlier_look_alike_is_found_and_reported() -> None:
    old, twin = (University.objects.create(name=name) for name in ("Вуз  ошибок", "ВУЗ\u00a0ошибок"))
    other = University.objects.create(name="Другой")
    assert list(University.objects.named(NAME)) == [old, twin]
    assert University.objects.described(inn="", kpp="", university_name=NAME) == old
    out = StringIO()
    call_command("assess", json=True, stdout=out)
    assert json.loads(out.getvalue())["look_alike_universities"] == [[old.pk, twin.pk]]
    out = StringIO()
    call_command("assess", stdout=out)
    assert f"Universities with the same name: {old.pk}, {twin.pk}." in out.getvalue()
    assert str(other.pk) not in out.getvalue().partition("same name")[2].partition(".")[0]


def test_the_same_spelling_comes_before_a_look_alike() -> None:
    upper, lower = (University.objects.create(name=name) for name in ("ВУЗ", "вуз"))
    assert University.objects.described(inn="", kpp="", university_name="вуз ") == lower
    assert University.objects.described(inn="", kpp="", university_name="ВУЗ") == upper


SAME = [
    ("МОСКВА", "MOCKBA"),
    ("Вуз ошибок", "Bуз oшибoк"),
    ("Вуз ошибок", "Вуз οшибок"),
    ("МГТУ", "ｍгту"),
    ("Нью-Йоркский вуз", "Нью‑Йоркский вуз"),
    ("Вуз - филиал", "Вуз — филиал"),
    ("Вуз - филиал", "Вуз–филиал"),
    ("Вуз «Север»", 'Вуз "Север"'),
    ("Вуз «Север»", "Вуз „Север“"),
    ("Вуз «Север»", "ВУЗ ’’СЕВЕР’’"),
    ("Вуз № 1", "Вуз No 1"),
    ("Straße", "STRASSE"),
    ("Tom Sawyer", "tom sawyer"),
    ("TOP", "top"),
    ("Bauman", "Ваuman"),
    ("MIREA", "МIREA"),
    ("MGIMO", "МGIMO"),
    ("QГУ", "ԚГУ"),
    ("WГУ", "ԜГУ"),
    ("GГУ", "ԌГУ"),
    ("hГУ", "һГУ"),
    ("IГУ", "ӀГУ"),
    ("ҮГУ", "YГУ"),
    ("ѴГУ", "VГУ"),
    ("СГУ", "ϹГУ"),
    ("ЈГУ", "ͿГУ"),
    ("ΝГУ", "NГУ"),
    ("ΖГУ", "ZГУ"),
    ("ІГУ", "lГУ"),
    ("MIT", "MlT"),
    ("Іркутськ", "lркутськ"),
    ("ЁГУ", "ËГУ"),
    ("ÏГУ", "ЇГУ"),
    ("Global", "GLOBAL"),
    ("Al-Farabi", "AL-FARABI"),
]
DIFFERENT = [("МГУ", "MGU"), ("Вуз 1", "Вуз 2"), ("Вуз-1", "Вуз 1"), ("Орел", "Осел"), ("Rome", "Ромe"), ("Й", "И")]
DIFFERENT += [("NГУ", "VГУ"), ("RГУ", "ГГУ"), ("YГУ", "UГУ"), ("LГУ", "IГУ"), ("Е", "Ё"), ("0ГУ", "ОГУ")]


@pytest.mark.long
def test_similar_letters_and_signs_make_no_other_name() -> None:
    for stored, other in [*SAME, *((second, first) for first, second in SAME)]:
        University.objects.all().delete()
        university = University.objects.create(name=stored)
        assert University.objects.described(inn="", kpp="", university_name=other) == university, (stored, other)
        assert University.objects.get().name == stored


def test_other_letters_make_another_name() -> None:
    for first, second in DIFFERENT:
        University.objects.all().delete()
        University.objects.create(name=first)
        University.objects.described(inn="", kpp="", university_name=second)
        assert University.objects.count() == 2, (first, second)


LETTERS = st.sampled_from("АВЕКМНОРСТУХІЈЅавекмнорстухіјѕԚԛԜԝԌҮѴЁЇЖяЩйRuzN« -—")
LATIN = str.maketrans("АВЕКМНОРСТУХІЈЅаеорсухіјѕԚԛԜԝԌҮѴЁЇ", "ABEKMHOPCTYXIJSaeopcyxijsQqWwGYVËÏ")
GREEK = str.maketrans("ABEZHIKMNOPTYXCJ", "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹͿ")


@settings(deadline=None)
@given(st.text("ABEZHIKMNOPTYXCJQRSLU -1", max_size=12))
def test_greek_and_latin_capitals_look_the_same(name: str) -> None:
    assert texts.look_alike_key(name.translate(GREEK)) == texts.look_alike_key(name)
    assert texts.look_alike_key(name.translate(GREEK).lower()) == texts.look_alike_key(name)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(LETTERS, st.booleans()), max_size=20))
def test_a_look_does_not_depend_on_the_alphabet(letters: list[tuple[str, bool]]) -> None:
    name = "".join(letter for letter, _ in letters)
    mixed = "".join(letter.translate(LATIN) if is_latin else letter for letter, is_latin in letters)
    assert (
        texts.look_alike_key(mixed)
        == texts.look_alike_key(name)
        == texts.look_alike_key(name.upper())
        == texts.look_alike_key(texts.look_alike_key(name))
    )


@pytest.mark.parametrize("selector", ["\ufe0f", "\ufe00", "\U000e0100"])
def test_a_selector_after_a_digit_makes_no_other_name(selector: str) -> None:
    """Digits are emoji characters, and only with U+20E3 do they become one."""
    first = University.objects.create(name="Вуз 1")
    assert University.objects.described(inn="", kpp="", university_name=f"Вуз 1{selector}") == first
