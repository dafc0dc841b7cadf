import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.config.test_error_pages import shown

pytestmark = pytest.mark.django_db
REFUSED = "Invisible character in the text"


@pytest.mark.parametrize(
    "path",
    [
        "employees/employee/?profile_source__exact=%00",
        "employees/employee/?%00=1",
        "employees/employee/?q=%D0%B0%00",
        "webhooks/inboxupdate/?update_type=%00",
        "autocomplete/?term=%00&app_label=employees&model_name=employee&field_name=university",
        "profiles/profile/%00/change/",
        "profiles/profile/%00/history/",
    ],
)
def test_an_address_with_a_nul_is_refused(client: Client, superadmin: User, path: str) -> None:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    answer = client.get(f"/admin/{path}")
    assert shown(answer, 400) == REFUSED


@pytest.mark.parametrize("path", ["person/", "login/", "employees/university/add/"])
@pytest.mark.parametrize("form", [{"who": "\0"}, {"username": "a\0", "password": "b"}, {"name": ["a", "b\0"]}])
def test_a_form_with_a_nul_is_refused(client: Client, superadmin: User, path: str, form: dict[str, str]) -> None:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    answer = client.post(f"/admin/{path}", form)
    assert shown(answer, 400) == REFUSED


def test_other_texts_pass(client: Client, superadmin: User) -> None:
    client.force_login(superadmin)
    assert client.get("/admin/employees/employee/?q=%2500%01%20%D0%B0").status_code == 200
    assert client.post("/admin/person/", {"who": "%00 \x01"}).status_code == 200
