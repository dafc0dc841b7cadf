"""Our changes of the theme: labels of buttons, the sidebar, phones, keyboards, Russian, no JavaScript."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from employees.accounts import user_scope
from employees.models import Employee, University

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
LIST = "/admin/employees/employee/"


@pytest.fixture
def reader(client: Client, superadmin: User, university: University) -> Client:
    Employee.objects.create(phone="+79160000000", university=university)
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def test_it_works(reader: Client) -> None:
    page = reader.get(LIST).content.decode()
    assert 'data-label="Phone"' in page, "phones show the heading beside the value"
    assert len(re.findall(r'<button type="button"[^>]*aria-label="Show or hide the menu"', page)) == 2
    assert '<td class="' in page
    assert re.search(r'data-label="MAX ID">—</td>', page)


def test_the_delete_button_names_no_model(reader: Client) -> None:
    page = reader.get(f"{LIST}{Employee.objects.get().pk}/change/").content.decode()
    [button] = re.findall(r'<a href="[^"]+/delete/"[^>]*>(.*?)</a>', page, re.DOTALL)
    assert re.sub(r"\s+", " ", button).strip() == "Delete"


def sidebar(user: User, path: str) -> list[dict[str, Any]]:
    request = RequestFactory().get(path)
    request.user = user
    request.scope = user_scope(user)  # type: ignore[attr-defined]
    return [item for group in admin.site.get_sidebar_list(request) for item in group["items"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "marked"),
    [("inboxupdate/", "Inbox"), ("inboxupdate/7/change/", "Inbox"), ("inboxupdate/dead-letters/", "Dead letters")],
)
def test_the_menu_marks_one_entry(superadmin: User, path: str, marked: str) -> None:
    assert [item["title"] for item in sidebar(superadmin, f"/admin/webhooks/{path}") if item["active"]] == [marked]


def test_the_sidebar_has_the_flags_and_switches(superadmin: User) -> None:
    links = {item["link"] for item in sidebar(superadmin, "/admin/") if item["has_permission"]}
    assert {"/admin/rollout/flag/", "/admin/waffle/switch/", "/admin/waffle/sample/"} <= links


def test_the_page_works_without_javascript(reader: Client) -> None:
    """The theme hides the page until a script has run."""
    for visitor, path in ((reader, "/admin/"), (reader, LIST), (Client(), "/admin/login/")):
        page = visitor.get(path).content.decode()
        [note] = re.findall(r"<noscript>(.*?)</noscript>", page, re.DOTALL)
        assert "screens/noscript.css" in note
        assert "red button on the “Rollout” page" in note


def test_the_keyboard_reaches_the_user_menu_and_the_content(reader: Client) -> None:
    page = reader.get(LIST).content.decode()
    assert re.search(r'<button type="button"[^>]*openUserLinks = !openUserLinks', page)
    assert page.index('href="#content"') < page.index('<a href="/admin/"')
    assert 'id="content"' in page
