"""A university in the admin: a duplicate gets a readable error in each language."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from employees.models import University

pytestmark = pytest.mark.django_db
ADD = "/admin/employees/university/add/"
MGU = {"name": "МГУ", "inn": "7701234567", "kpp": "770101001"}
NAMED = {"name": "СПбГУ", "inn": "", "kpp": ""}


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    University.objects.create(**MGU)
    University.objects.create(**NAMED)
    return client


@pytest.mark.parametrize("form", [MGU | {"kpp": "770101002"}, MGU | {"kpp": ""}])
def test_it_works(admin: Client, form: dict[str, str]) -> None:
    assert admin.post(ADD, form).status_code == 302
    assert University.objects.count() == 3


SAME: list[tuple[dict[str, str], str, dict[str, str]]] = [
    (
        MGU | {"name": "Другой"},
        "inn",
        {"en": "A university with this INN and KPP already exists.", "ru": "Вуз с такими ИНН и КПП уже есть."},
    ),
    (
        NAMED,
        "name",
        {
            "en": "A university with this name already exists.",
            "ru": "Вуз с таким названием уже есть.",
        },
    ),
]
# The name of a university with an INN describes that university, and so does a name that looks the same.
SAME += [({"name": name, "inn": "", "kpp": ""}, *SAME[1][1:]) for name in ("МГУ", "мгу", " М\u200bГУ", "MГУ")]


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(("form", "field", "errors"), SAME)
def test_it_refuses_a_duplicate(
    admin: Client, form: dict[str, Any], field: str, errors: dict[str, str], language: str
) -> None:
    answer = admin.post(ADD, form, headers={"Accept-Language": language})
    assert answer.context["adminform"].form.errors == {field: [errors[language]]}
    assert "universities_" not in answer.content.decode()


def test_it_is_no_duplicate_of_itself(admin: Client) -> None:
    for given in (MGU, NAMED):
        university = University.objects.get(name=given["name"])
        assert admin.post(f"/admin/employees/university/{university.pk}/change/", given).status_code == 302
