"""Values that a field cannot have, in the address or in the form of any page of the admin: nothing is a 500."""

import csv
import os
from functools import cache
from io import StringIO
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.widgets import AutocompleteMixin
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import ForeignKey, ManyToManyField, Model
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import translation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unfold.admin import checkbox
from unfold.templatetags import unfold_list

from employees.accounts import permission_scope
from employees.models import Employee, University
from profiles.models import Comparison
from tests.config.admin_pages import make_rows
from tests.config.test_error_pages import shown
from tests.conftest import Phases
from webhooks.models import Replay

IS_FULL = os.environ.get("FUZZ") == "full"
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

HOSTILE = (
    *("", "a", "0", "1", "-1", "01", "1.0", "9" * 19, "9" * 40, "9" * 5000, "1e999", "NaN", "Infinity", "0x1", "1,2"),
    *("(", "[", "\\", "{}", "[]", "null", "true", "' OR 1=1", "\x00", "\x1b[31m", "\u3164", "ا١", "١", "\ufffe", "🙂"),
    *("9999-12-31", "0001-01-01", "9999-99-99", "2026-02-30T25:00", "23:59:60", "8 916 123-45-67", "+7", "x" * 3000),
)
# In the quick tests, those that no kind of field reads.
BREAKING = ("x", "(", "9" * 40, "9999-12-31", "NaN")
VALUES = st.one_of(
    st.sampled_from(HOSTILE), st.integers(-(2**80), 2**80).map(str), st.text(st.characters(exclude_categories=["Cs"]))
)


@pytest.fixture
def browser(superadmin: User, phases: Phases) -> Client:
    phases(100, 100, 100)
    make_rows(superadmin)
    client = Client(headers={"accept-language": "en"})
    client.force_login(superadmin)
    return client


def page_of(model: type[Model], page: str = "") -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/{page}"


def _request(user: User) -> Any:
    request: Any = RequestFactory().get("/")
    request.user, request.scope = user, permission_scope(user)
    return request


def inputs(model: type[Model], superadmin: User, pk: Any = None) -> list[str]:
    """Return the names of the inputs of a form of the model's page, and those of its fields."""
    request = _request(superadmin)
    page = admin.site._registry[model]
    if not (page.has_change_permission(request) if pk else page.has_add_permission(request)):
        return []
    row = model._default_manager.get(pk=pk) if pk else None
    form: Any = page.get_form(request, row, change=pk is not None)
    names = set[str]()
    for name, field in form.base_fields.items():
        parts = getattr(field.widget, "widgets", ())
        names |= {name, f"initial-{name}", *(f"{name}_{number}" for number, _part in enumerate(parts))}
    return sorted(names)


@cache
def _autocompleted() -> list[tuple[type[Model], str]]:
    return [
        (model, name)
        for model, page in admin.site._registry.items()
        for name in getattr(page, "autocomplete_fields", ())
    ]


@pytest.mark.long
def test_no_field_of_a_form_breaks_on_an_address(browser: Client, superadmin: User) -> None:
    for model in admin.site._registry:
        for value in (HOSTILE if IS_FULL else BREAKING) * bool(names := inputs(model, superadmin)):
            answer = browser.get(page_of(model, "add/"), dict.fromkeys(names, value))
            assert answer.status_code == (400 if "\x00" in value else 200), (model, value)


@pytest.mark.long
def test_no_form_breaks_on_what_is_sent(browser: Client, superadmin: User) -> None:
    pages: list[tuple[str, list[str]]] = []
    for model in admin.site._registry:
        if names := inputs(model, superadmin):
            pages.append((page_of(model, "add/"), names))
        row = model._default_manager.exclude(pk=superadmin.pk if model is User else None).first()
        if row is not None and (names := inputs(model, superadmin, row.pk)):
            pages.append((page_of(model, f"{row.pk}/change/"), names))

    @settings(
        max_examples=1_000 if IS_FULL else 40,
        deadline=None,
        derandomize=not IS_FULL,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def send(data: st.DataObject) -> None:
        path, names = data.draw(st.sampled_from(pages))
        values = data.draw(st.dictionaries(st.sampled_from(names), VALUES, min_size=1))
        with transaction.atomic():
            answer: Any = browser.post(path, values)
            transaction.set_rollback(True)
        assert answer.status_code in (200, 302, 400), (path, values)

    send()


@pytest.mark.long
def test_a_field_with_suggestions_refuses_what_is_no_row(browser: Client) -> None:
    assert len(_autocompleted()) >= 5
    for model, name in _autocompleted():
        for value in ("x", "null", "(", "9" * 40, "9999-12-31", "0x1", "\u3164x"):
            answer: Any = browser.post(page_of(model, "add/"), {name: value})
            assert answer.status_code == 200
            errors = answer.context["adminform"].form.errors[name]
            assert "Select a valid choice" in str(errors) or "is not a valid value" in str(errors), (model, name, value)


def test_every_field_with_suggestions_has_our_widget(browser: Client, superadmin: User) -> None:
    request = _request(superadmin)
    for model, name in _autocompleted():
        field: Any = admin.site._registry[model].formfield_for_dbfield(model._meta.get_field(name), request)  # type: ignore[arg-type]
        widget = field.widget.widget
        assert isinstance(widget, AutocompleteMixin)
        assert type(widget).__module__ == "config.lib.autocomplete", (model, name)


def test_a_prefilled_row_is_shown(browser: Client) -> None:
    university = University.objects.get()
    page = browser.get("/admin/employees/employee/add/", {"university": university.pk}).content.decode()
    assert f'<option value="{university.pk}" selected>' in page


@pytest.mark.long
def test_suggestions_exist_only_for_relations(browser: Client) -> None:
    """The reverse of a relation, a column and a generic relation are refused as an unknown field is."""
    models: tuple[type[Model], ...] = (*admin.site._registry, Permission, ContentType)
    for model in models:
        for field in model._meta.get_fields():
            query: dict[str, Any] = {
                "app_label": model._meta.app_label,
                "model_name": model._meta.model_name,
                "field_name": field.name,
            }
            status = browser.get("/admin/autocomplete/", query | {"term": ""}).status_code
            if isinstance(field, ForeignKey | ManyToManyField):
                assert status in (200, 403, 404), field
            else:
                assert status == 403, field
    for wrong in ({}, {"app_label": "x"}, {"app_label": "employees", "model_name": "", "field_name": ""}):
        assert browser.get("/admin/autocomplete/", wrong).status_code == 403


@pytest.mark.long
@pytest.mark.parametrize("page", ["employees/employee/export/", "webhooks/inboxupdate/replay/"])
@pytest.mark.parametrize(
    "query",
    [
        "robots=x",
        "university__id__exact=x",
        "id=x",
        "user__id=x",
        "created_at__gte=x",
        "id__in=x",
        "received_at__lt=9",
        "x__y=1",
    ],
)
def test_a_page_with_a_lists_filters_refuses_what_the_list_does(browser: Client, page: str, query: str) -> None:
    answer = browser.get(f"/admin/{page}?{query}")
    if "export" in page:
        assert shown(answer, 400) == "Bad request"
        return
    assert (answer.status_code, answer["Location"]) == (302, "/admin/webhooks/inboxupdate/")
    [message] = browser.get(answer["Location"]).context["messages"]
    assert str(message).startswith("Filter the list first.")
    answer = browser.post(f"/admin/{page}?{query}", {"reason": "r"})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/webhooks/inboxupdate/")
    assert not Replay.objects.filter(reason="r").exists()


@pytest.mark.long
def test_the_export_takes_the_filters_of_the_list(browser: Client) -> None:
    other = University.objects.create(name="Другой", inn="7736050003", kpp="773601001")
    foreign = Employee.objects.create(phone="+12025550188", university=other, last_name="Ким", profile_source="api")
    rest = set(Employee.objects.exclude(pk=foreign.pk).values_list("phone", flat=True))
    assert rest
    for query, phones in (
        (f"university__id__exact={other.pk}", {foreign.phone}),
        (f"university__id__exact={University.objects.exclude(pk=other.pk).get().pk}", rest),
        ("profile_source__exact=api", {foreign.phone}),
        ("q=Ким", {foreign.phone}),
        ("", rest | {foreign.phone}),
    ):
        url = f"/admin/employees/employee/export/?{query}"
        page = browser.get(url)
        fields = {field.name: "on" for field in page.context["form"] if field.name.startswith("employeeresource_")}
        answer = browser.post(url, {"format": "0", "resource": "0"} | fields)
        rows = csv.DictReader(StringIO(answer.content.decode("utf-8-sig")))
        assert {row["phone"] for row in rows} == phones, query


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.text("aя &=?%/+", max_size=8)))
def test_a_row_keeps_the_filters_of_its_list_as_in_django(filters: dict[str, str]) -> None:
    preserved = urlencode({"_changelist_filters": urlencode(filters)}) if filters else ""
    context: Any = {"preserved_filters": preserved, "opts": User._meta}
    url = reverse("admin:auth_user_change", args=[7])
    assert vars(unfold_list)["add_preserved_filters"](context, url) == add_preserved_filters(context, url)


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_checkbox_of_a_row_is_that_of_the_theme(language: str) -> None:
    page: Any = admin.site.get_model_admin(User)
    with translation.override(language):
        assert page.action_checkbox(User(pk=7)) == checkbox.render(ACTION_CHECKBOX_NAME, "7")


@pytest.mark.parametrize(
    ("value", "shown_in_russian"),
    [(0.00005029195601851852, "< 0,01"), (-0.001, "> -0,01"), (0.0, "0,0"), (12.3456, "12,35"), (98.5, "98,5")],
)
def test_a_number_is_shown_with_two_decimals(value: float, shown_in_russian: str) -> None:
    with translation.override("ru"):
        cell = vars(unfold_list)["display_for_field"](value, Comparison._meta.get_field("cache_age_days"), "—")
    assert cell == shown_in_russian
