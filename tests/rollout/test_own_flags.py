"""Flags and switches of other apps and samples are created and deleted in the admin, those of the rollout are kept."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django.fixtures import Settings
from waffle.models import Sample, Switch

from employees.models import Membership, University
from profiles.rollout.models import Change, Flag
from profiles.rollout.phases import BUCKETED, EMERGENCY_STOP, PHASES, RESERVED, SWITCHES
from tests.conftest import Phases
from tests.pages import form_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
FLAGS, SWITCH_PAGES, SAMPLES = "/admin/rollout/flag/", "/admin/waffle/switch/", "/admin/waffle/sample/"


@pytest.fixture
def root(client: Client, superadmin: User, phases: Phases) -> Client:
    phases(100, 100, 5)
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def add(root: Client, page: str, **fields: str) -> str:
    """Send the page for a new row with these fields; return the answer's text, empty if the row was added."""
    opened = form_of(root.get(f"{page}add/").content.decode())
    answer = root.post(f"{page}add/", opened | {name: [value] for name, value in fields.items()})
    return "" if answer.status_code == 302 else answer.content.decode()


def delete(root: Client, page: str, row: Flag | Switch | Sample) -> int:
    return root.post(f"{page}{row.pk}/delete/", {"post": "yes"}).status_code


def test_a_flag_is_added_changed_and_deleted(root: Client, superadmin: User) -> None:
    assert "add/" in root.get(FLAGS).content.decode()
    assert add(root, FLAGS, name="beta", percent="12,5", users=str(superadmin.pk), reason="trial", note="n") == ""
    flag = Flag.objects.get(name="beta")
    assert (flag.percent, flag.everyone, flag.superusers, flag.note) == (Decimal("12.5"), None, True, "n")
    assert list(flag.users.all()) == [superadmin]
    added = Change.objects.filter(action="flag").earliest("pk")
    assert (added.by, added.text, added.before) == ("root", "trial", {})
    assert added.after["percents"] == {"beta": "12.5"}
    page = f"{FLAGS}{flag.pk}/change/"
    opened = form_of(root.get(page).content.decode())
    assert root.post(page, opened | {"percent": ["0"], "reason": ["over"]}).status_code == 302
    assert delete(root, FLAGS, flag) == 302
    assert not Flag.objects.filter(name="beta").exists()
    deleted = Change.objects.latest("pk")
    assert (deleted.by, deleted.action, deleted.text) == ("root", "delete", "Removed in the admin")


def test_a_switch_is_added_changed_and_deleted(root: Client) -> None:
    assert add(root, SWITCH_PAGES, name="banner", active="on", note="n") == ""
    switch = Switch.objects.get(name="banner")
    assert (switch.active, switch.note) == (True, "n")
    page = f"{SWITCH_PAGES}{switch.pk}/change/"
    opened = form_of(root.get(page).content.decode())
    assert root.post(page, opened | {"active": [], "name": [EMERGENCY_STOP]}).status_code == 302
    switch.refresh_from_db()
    assert (switch.name, switch.active) == ("banner", False)
    assert delete(root, SWITCH_PAGES, switch) == 302
    assert not Switch.objects.filter(name="banner").exists()


def test_a_sample_is_added_changed_and_deleted(root: Client) -> None:
    assert add(root, SAMPLES, name="slow", percent="12.5") == ""
    sample = Sample.objects.get(name="slow")
    assert sample.percent == Decimal("12.5")
    page = f"{SAMPLES}{sample.pk}/change/"
    opened = form_of(root.get(page).content.decode())
    assert root.post(page, opened | {"percent": ["100.1"]}).status_code == 200
    assert root.post(page, opened | {"percent": ["100"]}).status_code == 302
    sample.refresh_from_db()
    assert sample.percent == 100
    assert delete(root, SAMPLES, sample) == 302
    assert not Sample.objects.exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("page", "is_there"),
    [
        (FLAGS, True),
        (SWITCH_PAGES, False),
        pytest.param(FLAGS, False, marks=pytest.mark.integration),
        pytest.param(SWITCH_PAGES, True, marks=pytest.mark.integration),
    ],
)
def test_a_name_of_the_rollout_is_refused(root: Client, page: str, is_there: bool, settings: Settings) -> None:
    settings.ROLLOUT_APPROVALS = True
    rows = Flag.objects if page == FLAGS else Switch.objects
    for name in sorted(RESERVED):
        if not is_there:
            rows.filter(name=name).update(name="other")
        had = rows.count()
        refused = add(root, page, name=f" {name} ", active="on", everyone="true", percent="100", reason="r")
        assert f"The name “{name}” is reserved for the rollout. Choose another name." in refused
        assert rows.count() == had
        rows.filter(name="other").update(name=name)


def test_rows_of_the_rollout_are_kept(root: Client) -> None:
    for page, rows, names in (
        (FLAGS, Flag.objects, BUCKETED),
        (SWITCH_PAGES, Switch.objects, (*SWITCHES, EMERGENCY_STOP)),
    ):
        for name in names:
            row = rows.get_or_create(name=name)[0]
            assert root.get(f"{page}{row.pk}/delete/").status_code == 403, name
            assert delete(root, page, row) == 403, name
            assert rows.filter(pk=row.pk).exists(), name
        chosen = list(rows.values_list("pk", flat=True))
        root.post(page, {"action": "delete_selected", "_selected_action": chosen, "post": "yes"})
        assert rows.count() == len(chosen)
    assert Flag.objects.get(name=PHASES[2]).percent == 5


@pytest.mark.parametrize("page", [FLAGS, SWITCH_PAGES, SAMPLES])
def test_a_membership_lets_nobody_add_or_delete(
    client: Client, phases: Phases, university: University, page: str
) -> None:
    user = User.objects.create_user("limited", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label__in=("rollout", "waffle")))
    Membership.objects.create(user=user, university=university)
    client.force_login(user)
    model: Any = {FLAGS: Flag, SWITCH_PAGES: Switch, SAMPLES: Sample}[page]
    row: Any = (
        model.objects.create(name="beta", percent=5) if page != SWITCH_PAGES else Switch.objects.create(name="beta")
    )
    assert client.get(page).status_code == 200
    assert client.post(f"{page}add/", {"name": "new"}).status_code == 403
    assert delete(client, page, row) == 403
