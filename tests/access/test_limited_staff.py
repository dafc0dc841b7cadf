"""No page, filter, search, order or look-up reveals another university to staff who are limited to one."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waffle.models import Switch

from config.lib.admin import GlobalScopeAdmin, ScopedAdmin, VisibleRowsFilter
from employees.accounts import permission_scope
from employees.models import BackfillRun, Employee, Membership, University, UnresolvedName
from monitoring.rollout_control.models import Signature
from monitoring.stats.models import CachedStatistic
from profiles.rollout.models import Change, Flag, Plan, Rollout, UniversityRule
from profiles.rollout.rules import OutsideUniversity
from tests.conftest import Phases, client_of
from tests.profiles.people import add_profile
from tests.rollout.changing import change, plan_step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
# Tables whose rows are about no university, so that their pages are the same for everybody.
SHARED = {
    "rollout.flag", "waffle.switch", "waffle.sample", "rollout.plan", "rollout.heartbeat", "monitoring.gatecheck",
    "monitoring.roundtrip", "monitoring.alert", "monitoring.signature",
}  # fmt: skip
# Their own querysets follow the scope in another way than by a path to the university.
OTHERWISE = {"profiles.profile", "rollout.change", "rollout.approval"}
NAME, SURNAME, INN, REASON = "Тайный институт", "Секретова", "7736050003", "тайная причина"


@pytest.fixture
def foreign(university: University) -> University:
    other = University.objects.create(name=NAME, inn=INN, kpp="773601001")
    for number, one in enumerate((university, other), 1):
        is_foreign = one == other
        names = {"last_name": SURNAME if is_foreign else "Своя"}
        phone, max_id = f"+1202555010{number}", f"70{number}"
        employee = Employee.objects.create(phone=phone, max_id=max_id, university=one, **names)
        UnresolvedName.objects.create(employee=employee, next_try_at=timezone.now())
        BackfillRun.objects.create(university=one, status="done", until_id=0)
        rule = {"university": one.pk, "phase": 3, "allowed": True, "expires_at": None}
        reason = REASON if is_foreign else "своя"
        UniversityRule.objects.create(university_id=one.pk, phase=4, reason=reason)
        Change.objects.create(by="t", action="scope", reason=reason, revision=0, after=rule)
        add_profile(max_id, "Имя", names["last_name"])
    return other


@pytest.fixture
def limited(university: University) -> Client:
    """Log in as a user who has every permission, at one university."""
    user = User.objects.create_user("limited", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    Membership.objects.create(user=user, university=university)
    client = Client()
    client.force_login(user)
    return client


def revealed(page: str) -> list[str]:
    return [secret for secret in (NAME, SURNAME, INN, REASON, "+12025550102") if secret in page]


def test_nothing_that_concerns_all_universities_can_be_changed(
    rf: RequestFactory, university: University, limited: Client
) -> None:
    """Tables whose rows belong to no university: a user with every permission at one university only sees them."""
    request = rf.get("/admin/")
    request.user = User.objects.get(username="limited")
    request.scope = permission_scope(request.user)  # type: ignore[attr-defined]
    own = (ScopedAdmin, GlobalScopeAdmin)
    for model, page in admin.site._registry.items():
        if not isinstance(page, own) and model._meta.label_lower not in OTHERWISE:
            allowed = [page.has_add_permission(request), page.has_change_permission(request)]
            assert [*allowed, page.has_delete_permission(request)] == [False] * 3, model
    answer = limited.post("/admin/checklist/", {"item": "backup_configuration", "note": "x"})
    assert (answer.status_code, Signature.objects.count()) == (403, 0)
    assert "/admin/checklist/" not in limited.get("/admin/checklist/items/").content.decode()


LOOKUPS = [
    "",
    "__exact",
    "__id__exact",
    "__in",
    "__id__in",
    "__pk",
    "__name__startswith",
    "__inn__contains",
    "__isnull",
]
LISTS = [model for model in admin.site._registry if model._meta.label_lower not in SHARED]
PATHS = st.sampled_from(["university", "university_id", "employee__university", "employee__university__id", "id", "pk",
                         "user_id", "members__user", "after__university"])  # fmt: skip
PARAMETERS = st.dictionaries(
    st.builds("".join, st.tuples(PATHS, st.sampled_from(LOOKUPS)))
    | st.sampled_from(["o", "q", "_facets", "all", "p", "e", "_popup", "_to_field"]),
    st.sampled_from(["{foreign}", "{foreign},1", "1", "-1", "True", "5", NAME[:5], SURNAME, INN, "702", "id", "1.-6"]),
    min_size=1,
    max_size=3,
)


def check_lists(limited: Client, foreign: University, model: type[Model], params: dict[str, str]) -> None:
    path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    given_params = {name: value.format(foreign=foreign.pk) for name, value in params.items()}
    answer = limited.get(path, given_params, follow=True)
    typed = set(given_params.values())
    assert answer.status_code in (200, 400, 403), (path, given_params)
    assert [secret for secret in revealed(answer.content.decode()) if secret not in typed] == [], (path, given_params)


def test_it_works(limited: Client, foreign: University) -> None:
    """The filter used to show the name of the chosen university."""
    for name in ("university__id__exact", "university", "university__id__in"):
        check_lists(limited, foreign, Employee, {name: "{foreign}"})
    own = limited.get("/admin/employees/employee/", {"university__id__exact": Membership.objects.get().university_id})
    assert Membership.objects.get().university.name in own.content.decode()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=st.sampled_from(LISTS), params=PARAMETERS)
def test_no_list_reveals_another_university(
    limited: Client, foreign: University, model: type[Model], params: dict[str, str]
) -> None:
    check_lists(limited, foreign, model, params)


@pytest.mark.integration
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=st.sampled_from(LISTS), params=PARAMETERS)
def test_no_list_reveals_another_university_at_length(
    limited: Client, foreign: University, model: type[Model], params: dict[str, str]
) -> None:
    check_lists(limited, foreign, model, params)


@pytest.mark.long
def test_no_form_or_autocompletion_offers_another_university(limited: Client, foreign: University) -> None:
    fields = [("employees", "employee", "university"), ("employees", "backfillrun", "university"),
              ("employees", "membership", "university"), ("employees", "membership", "user")]  # fmt: skip
    for app, model_name, name in fields:
        params = {"app_label": app, "model_name": model_name, "field_name": name, "term": ""}
        answer = limited.get("/admin/autocomplete/", params)
        assert answer.status_code in (200, 403)
        if answer.status_code == 200:
            texts = [row["text"] for row in json.loads(answer.content)["results"]]
            assert revealed(" ".join(texts)) == []
            assert name != "user" or texts == []
    for model in LISTS:
        page = limited.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add"))
        assert revealed(page.content.decode()) == [], model


@pytest.mark.long
def test_no_foreign_university_can_be_chosen(limited: Client, foreign: University, university: University) -> None:
    own = Employee.objects.get(university=university)
    form = {"phone": own.phone, "first_name": "А", "last_name": "Б", "university": foreign.pk}
    for path in (f"/admin/employees/employee/{own.pk}/change/", "/admin/employees/employee/add/"):
        page = limited.post(path, form)
        assert "university" in page.context["adminform"].form.errors
        assert revealed(page.content.decode()) == []
    own.refresh_from_db()
    assert own.university == university


def test_every_table_declares_its_scope() -> None:
    """A new page of the admin is limited, refused as a whole, or listed above."""
    for model, page in admin.site._registry.items():
        label = model._meta.label_lower
        kinds = [isinstance(page, ScopedAdmin), isinstance(page, GlobalScopeAdmin), label in SHARED | OTHERWISE]
        assert sum(kinds) == 1, label
        if isinstance(page, ScopedAdmin):
            assert page.university_path
        for given_filter in page.list_filter:
            name, *classes = given_filter if isinstance(given_filter, tuple) else (given_filter,)
            is_relation = isinstance(name, str) and model._meta.get_field(name).is_relation
            if is_relation and not isinstance(page, GlobalScopeAdmin):
                assert classes == [VisibleRowsFilter], (label, name)


# The rollout: only the rules of the own university.
SCREENS: list[tuple[str, dict[str, Any]]] = [
    ("steer/3/", {"percent": "50"}),
    ("steer/pause/", {}),
    ("steer/resume/", {}),
    ("steer/plan/", {"phase": "3", "percent": "1", "due_at": "2099-01-01T00:00"}),
    ("steer/on-breach/", {"on_breach": "roll-back"}),
    ("steer/plan/{plan}/cancel/", {}),
    ("rollout/flag/{flag}/change/", {"percent": "50", "note": ""}),
    ("waffle/switch/{switch}/change/", {"active": "on"}),
]


@pytest.fixture
def snapshot(phases: Phases) -> Any:
    phases(100, 100, 5)
    plan_step(3, 25, timezone.now() + timedelta(days=1), by="t", reason="r")

    def state() -> object:
        tables = (Rollout.objects, Plan.objects, UniversityRule.objects, Change.objects)
        return [list(rows.order_by("pk").values()) for rows in tables]

    return state


@pytest.mark.long
@pytest.mark.parametrize(("path", "form"), SCREENS)
def test_no_screen_changes_the_whole_rollout(
    limited: Client, foreign: University, snapshot: Any, path: str, form: dict[str, Any]
) -> None:
    before = snapshot()
    ids = {"plan": Plan.objects.earliest("pk").pk, "flag": Flag.objects.earliest("pk").pk}
    ids["switch"] = Switch.objects.earliest("pk").pk
    answer = limited.post(f"/admin/{path.format(**ids)}", form | {"reason": "r", "force": "on"})
    assert answer.status_code == 403
    assert snapshot() == before


@pytest.mark.parametrize("action", ["set", "advance", "pause", "resume"])
def test_the_api_changes_no_whole_rollout(limited: Client, snapshot: Any, action: str) -> None:
    before, body = snapshot(), {"phase": 3, "percent": "4", "reason": "r", "force": True}
    answer = client_of(User.objects.get(username="limited")).post(f"/monitoring/rollout/{action}", body, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert "limited to one university" in answer.json()["error"]["message"]
    assert snapshot() == before


def test_rules_of_the_own_university_are_changed(
    limited: Client, foreign: University, university: University, snapshot: Any
) -> None:
    own, other = (UniversityRule.objects.get(university_id=one.pk) for one in (university, foreign))
    form = {"university_id": university.pk, "phase": 4, "reason": "новая", "is_allowed": "on"}
    page = "/admin/rollout/universityrule/"
    assert limited.post(f"{page}{own.pk}/change/", form).status_code == 302
    assert limited.post(f"{page}add/", form | {"phase": 3}).status_code == 302
    before = snapshot()
    for path in (f"{page}{other.pk}/change/", f"{page}{other.pk}/delete/"):
        assert limited.post(path, form | {"post": "yes", "university_id": foreign.pk}).status_code == 302
    for path in (f"{page}add/", f"{page}{own.pk}/change/"):
        moved = limited.post(path, form | {"university_id": foreign.pk})
        assert "university_id" in moved.context["adminform"].form.errors
    assert snapshot() == before
    assert limited.post(f"{page}{own.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not UniversityRule.objects.filter(pk=own.pk).exists()


def test_the_change_function_itself_refuses(foreign: University, university: University, phases: Phases) -> None:
    """Whatever the surface: a rule may not be taken to, or away from, another university."""
    theirs = UniversityRule.objects.get(university_id=foreign.pk)
    theirs.university_id = university.pk
    new = UniversityRule(university_id=foreign.pk, phase=3)
    for rule, is_on in ((theirs, True), (new, True), (UniversityRule.objects.get(pk=theirs.pk), False)):
        with pytest.raises(OutsideUniversity):
            change("scope", rule=rule, is_on=is_on, by="t", reason="r", universities={university.pk})
    own = UniversityRule(university_id=university.pk, phase=3)
    change("scope", rule=own, by="t", reason="r", universities={university.pk})
    change("emergency", by="t", reason="r", universities={university.pk})
    assert UniversityRule.objects.filter(university_id=foreign.pk).count() == 1


def test_the_form_of_a_backfill_offers_only_the_own_university(limited: Client, university: University) -> None:
    University.objects.create(name="Чужой вуз")
    form = limited.get("/admin/employees/backfillrun/add/").context["adminform"].form
    assert list(form.fields["university"].queryset) == [university]


def test_home_counts_the_employees_of_the_own_university(limited: Client, foreign: University, phases: Phases) -> None:
    for number in range(7):
        Employee.objects.create(phone=f"+120255502{number:02}", university=foreign, profile_source="webhook")
    for name in ("sources", "employees"):
        CachedStatistic.objects.filter(name=name).delete()
    for path in ("/admin/", reverse("screens:home-live")):
        response = limited.get(path, headers={"Accept-Language": "en"})
        assert sum(share.count for share in response.context["sources"]) == 1, path
        assert "home-sources-chart" not in response.content.decode()
    assert limited.get("/admin/sources/").status_code == 403
