import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from waffle.models import Switch

from employees.models import Employee, University
from monitoring.rollout_control.gates import ENTERING, STAYING, TRIPWIRE, WIDENING
from monitoring.rollout_control.labels import GATES
from monitoring.rollout_control.models import GateCheck, Verdict
from profiles.rollout.models import Change, Flag, UniversityRule
from profiles.rollout.phases import PHASES
from tests.conftest import Phases
from tests.profiles.people import add_profile
from tests.rollout.changing import change
from webhooks.models import InboxUpdate, State

MODELS = [model._meta.label_lower.replace(".", "_") for model in admin.site._registry]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture
def operator(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    return client


@pytest.mark.long
def test_each_list_opens(operator: Client, university: University) -> None:
    add_profile("7")
    Employee.objects.create(phone="+79160000000", university=university)
    now = timezone.now()
    InboxUpdate.objects.create(dedup_key=b"1", state=State.DONE, received_at=now, next_try_at=now, finished_at=now)
    for name in MODELS:
        assert operator.get(reverse(f"admin:{name}_changelist")).status_code == 200, name
        assert operator.get(reverse(f"admin:{name}_changelist"), {"q": "а"}).status_code == 200, name


@pytest.mark.parametrize("app", ["profiles", "webhooks", "employees"])
def test_apps_register_their_own_models(app: str) -> None:
    modules = {type(page).__module__ for model, page in admin.site._registry.items() if model._meta.app_label == app}
    others = {module for module in modules if not module.startswith(f"{app}.")}
    assert others <= {"monitoring.rollout_control.admin.rollout"}


def test_our_models_are_registered() -> None:
    assert {"employees_employee", "employees_university", "profiles_profile", "webhooks_inboxupdate", "rollout_flag",
            "waffle_switch"} <= set(MODELS)  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/admin"])
def test_the_root_leads_to_the_admin(client: Client, path: str) -> None:
    assert client.get(path)["Location"] == "/admin/"


@pytest.mark.parametrize("filters", ["", "?gate__exact=dwell"])
def test_gates_are_shown_by_their_titles(operator: Client, filters: str) -> None:
    operator.cookies["django_language"] = "en"
    check = GateCheck.objects.create(phase=3, gate="dwell", verdict=Verdict.FAIL, message="m")
    page = operator.get(f"/admin/monitoring/gatecheck/{filters}").content.decode()
    assert ("Dwell time" in page, ">dwell<" in page) == (True, False)
    assert (
        "Phase 3, Dwell time: fail" in operator.get(f"/admin/monitoring/gatecheck/{check.pk}/change/").content.decode()
    )


def test_changes_are_shown_by_their_actions(operator: Client) -> None:
    operator.cookies["django_language"] = "en"
    row = Change.objects.create(by="root", action="seed", reason="r", revision=7)
    page = operator.get("/admin/rollout/change/?action__exact=seed").content.decode()
    assert ("Seeded by the environment" in page, ">seed<" in page) == (True, False)
    page = operator.get(f"/admin/rollout/change/{row.pk}/change/").content.decode()
    assert "r7 Seeded by the environment" in page


def test_a_change_is_shown_without_codes(operator: Client, phases: Phases) -> None:
    operator.cookies["django_language"] = "en"
    phases(100, 100, 5)
    change("emergency", by="root", reason="names are mixed up")
    page = f"/admin/rollout/change/{Change.objects.latest('pk').pk}/change/"
    shown = operator.get(page).content.decode()
    for text in (
        "Phase 3, Gradual transition: 5%<br>",
        "Processing of updates: on<br>",
        "Processing of updates: off<br>",
        "before the emergency stop: Phase 3, Gradual transition: 5%",
    ):
        assert text in shown, text
    assert not any(code in shown for code in (*PHASES, "webhook_processing", "held_for", "on_breach", "{}"))
    change("scope", rule=UniversityRule(university_id=7, reason="r"), by="root", reason="r")
    shown = operator.get(f"/admin/rollout/change/{Change.objects.latest('pk').pk}/change/").content.decode()
    for text in ("university: deleted university", "phase: 3", "allowed: no", "expires at: —"):
        assert text in shown, text


def test_a_form_shows_the_percentage_without_zeros(operator: Client, phases: Phases) -> None:
    phases(100, 100, 12.5)
    page = operator.get(f"/admin/rollout/flag/{Flag.objects.get(name=PHASES[2]).pk}/change/").content.decode()
    assert 'value="12.5"' in page


def test_the_university_of_a_rule_is_chosen_by_name(operator: Client, university: University) -> None:
    page = operator.get("/admin/rollout/universityrule/add/").content.decode()
    assert f'<option value="{university.pk}">{university.name}</option>' in page


def test_each_gate_has_a_title() -> None:
    used = {gate for phases in (ENTERING, WIDENING, STAYING) for gates in phases.values() for gate in gates}
    assert set(GATES) >= used | {TRIPWIRE}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("waffle/switch/{switch}/change/", "reason"),
        ("rollout/universityrule/add/", "reason"),
        ("rollout/flag/{flag}/change/", "reason"),
        ("rollout/flag/{flag}/change/", "percent"),
        ("monitoring/signature/add/", "item"),
    ],
)
def test_our_form_fields_have_the_style_of_the_theme(operator: Client, phases: Phases, path: str, name: str) -> None:
    ids = {"switch": Switch.objects.earliest("pk").pk, "flag": Flag.objects.earliest("pk").pk}
    form = operator.get(f"/admin/{path.format(**ids)}").context["adminform"].form
    assert "border" in form.fields[name].widget.attrs.get("class", "").split()
