"""Flags of other apps: changes are recorded, and the rollout keeps its revision."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.utils import translation

from profiles.rollout.decision import decide
from profiles.rollout.models import Change, Flag, Rollout
from profiles.rollout.phases import BUCKETED, PHASES, SHADOW
from profiles.rollout.presenters import audit_rows
from tests.conftest import Phases
from tests.pages import form_of

pytestmark = pytest.mark.django_db
NAME = "new_page"


@pytest.fixture
def flag() -> Flag:
    flag = Flag(name=NAME, salt=NAME, percent=Decimal(5))
    flag.save()
    return flag


def recorded(change: Change) -> tuple[str, str, dict[str, object], dict[str, object]]:
    return change.by, change.reason, change.before, change.after


def test_it_works(flag: Flag, phases: Phases) -> None:
    revision = Rollout.current().revision
    call_command("waffle_flag", NAME, "--percent", "12.5", "--reason", "by the plan")
    change = Change.objects.latest("pk")
    # waffle's command also sets the criteria that are not among its options.
    criteria = [{"criteria": {f"{NAME} superusers": is_on}} for is_on in (True, False)]
    before, after = ({"percents": {NAME: "5"}} | criteria[0], {"percents": {NAME: "12.5"}} | criteria[1])
    assert recorded(change)[1:] == ("by the plan", before, after)
    assert audit_rows.change(change) == f"{NAME}: 5% → 12.5%; {NAME} superusers: on → off"
    assert change.revision == Rollout.current().revision == revision, "planned steps stay in force"
    assert change.action == "flag", "it was no code that changed it"


def test_a_share_changed_by_hand_is_called_so(client: Client, phases: Phases, superadmin: User) -> None:
    client.force_login(superadmin)
    shadow = Flag.objects.get(name=SHADOW)
    client.post(f"/admin/rollout/flag/{shadow.pk}/change/", {"percent": "7", "reason": "less load", "note": ""})
    assert Change.objects.latest("pk").action == "flag"
    shadow.percent = Decimal(9)
    shadow.save()
    assert Change.objects.latest("pk").action == "save"


@pytest.mark.parametrize("is_by_command", [True, False])
def test_a_deleted_flag_is_recorded(flag: Flag, phases: Phases, is_by_command: bool) -> None:
    revision = Rollout.current().revision
    if is_by_command:
        call_command("waffle_delete", "--flags", NAME)
    else:
        flag.change_by, flag.change_reason = "anna", "its page is gone"
        flag.delete()
    change = Change.objects.latest("pk")
    assert recorded(change)[2:] == ({"percents": {NAME: "5"}}, {})
    assert recorded(change)[1] == ("Deleted; no reason given" if is_by_command else "its page is gone")
    assert (change.action, change.revision) == ("delete", revision)
    with translation.override("en"):
        assert audit_rows.change(change) == f"Flag deleted: {NAME}"
    assert not Flag.objects.filter(name=NAME).exists()


def test_a_new_one_and_an_override_are_recorded(flag: Flag) -> None:
    assert recorded(Change.objects.latest("pk"))[2:] == ({}, {"percents": {NAME: "5"}})
    flag.everyone = False
    flag.save()
    change = Change.objects.latest("pk")
    assert change.after == {"percents": {NAME: "5"}, "everyone": {NAME: False}}
    with translation.override("en"):
        assert audit_rows.change(change) == f"{NAME}: — → off"


def test_what_changes_nothing_leaves_no_row(flag: Flag) -> None:
    count = Change.objects.count()
    flag.note = "of the other app"
    flag.save()
    assert Change.objects.count() == count


def test_the_admin_asks_for_a_reason_and_names_the_operator(flag: Flag, client: Client, superadmin: User) -> None:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    page = f"/admin/rollout/flag/{flag.pk}/change/"
    count = Change.objects.count()
    refused = client.post(page, {"percent": "7", "reason": " ", "note": ""})
    assert (refused.status_code, Change.objects.count()) == (200, count)
    assert client.post(page, {"percent": "7", "reason": "less load", "note": ""}).status_code == 302
    assert recorded(Change.objects.latest("pk")) == (
        superadmin.username,
        "less load",
        {"percents": {NAME: "5"}},
        {"percents": {NAME: "7"}},
    )


@pytest.mark.parametrize("name", [NAME, SHADOW])
def test_a_form_of_an_earlier_revision_is_refused(
    flag: Flag, phases: Phases, client: Client, superadmin: User, name: str
) -> None:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    percent = Flag.objects.get(name=name).percent
    page = f"/admin/rollout/flag/{Flag.objects.get(name=name).pk}/change/"
    given = {"percent": "7", "reason": "less load", "note": "", "expect_revision": str(Rollout.current().revision - 1)}
    assert "The rollout has changed" in client.post(page, given).content.decode()
    assert Flag.objects.get(name=name).percent == percent


def test_a_form_of_an_earlier_percentage_is_refused(
    flag: Flag, phases: Phases, client: Client, superadmin: User
) -> None:
    """The flag of another app moves without the revision."""
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    page = f"/admin/rollout/flag/{flag.pk}/change/"
    shown = client.get(page).context["adminform"].form
    given = {"percent": "7", "reason": "less load", "note": ""}
    given |= {name: str(shown[name].value()) for name in ("expect_revision", "expect_percent")}
    call_command("waffle_flag", NAME, "--percent", "12.5", "--reason", "by the plan")
    refused = client.post(page, given).content.decode()
    assert "Somebody else has changed the flag: it is at 12.5%, not 5%" in refused
    assert Flag.objects.get(name=NAME).percent == Decimal("12.5")


def state(flag: Flag) -> tuple[object, ...]:
    stored = Flag.objects.get(pk=flag.pk)
    return stored.everyone, stored.note, list(stored.groups.all())


@pytest.mark.long
@pytest.mark.parametrize("change", [{"everyone": "false"}, {"groups": ""}, {"note": "closed"}])
def test_a_form_does_not_take_back_another(
    flag: Flag, phases: Phases, client: Client, superadmin: User, change: dict[str, str]
) -> None:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    flag.groups.add(Group.objects.get(name="viewer"))
    page = f"/admin/rollout/flag/{flag.pk}/change/"
    opened = form_of(client.get(page).content.decode()) | {"reason": ["r"]}
    assert (
        client.post(page, opened | {key: [value] if value else [] for key, value in change.items()}).status_code == 302
    )
    after = state(flag)
    refused = client.post(page, opened | {"staff": ["on"]}).content.decode()
    assert "Somebody else has changed the flag. Open the page again" in refused
    assert state(flag) == after
    assert client.post(page, form_of(client.get(page).content.decode()) | {"reason": ["r"]}).status_code == 302


def test_the_note_of_a_phase_is_not_taken_back(phases: Phases, client: Client, superadmin: User) -> None:
    client.force_login(superadmin)
    page = f"/admin/rollout/flag/{Flag.objects.get(name=PHASES[2]).pk}/change/"
    opened = form_of(client.get(page).content.decode()) | {"reason": ["r"]}
    assert client.post(page, opened | {"note": ["stop at 5"]}).status_code == 302
    assert client.post(page, opened).status_code == 200
    assert Flag.objects.get(name=PHASES[2]).note == "stop at 5"


def test_its_page_has_the_fields_of_waffle(flag: Flag, client: Client, superadmin: User) -> None:
    client.force_login(superadmin)
    page = f"/admin/rollout/flag/{flag.pk}/change/"
    form = client.get(page).context["adminform"].form
    waffles = {"everyone", "superusers", "staff", "authenticated", "languages", "testing", "rollout", "users", "groups"}
    assert waffles <= form.fields.keys()
    group = Group.objects.get(name="viewer")
    given = {name: str(form[name].value()) for name in ("expect_revision", "expect_percent")}
    given |= {"percent": "", "everyone": "", "staff": "on", "languages": "ru, en", "users": str(superadmin.pk)}
    answer = client.post(page, given | {"groups": group.pk, "reason": "for the staff", "note": "the note"})
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    assert answer.status_code == 302
    flag = Flag.objects.get(name=NAME)
    assert (flag.percent, flag.everyone, flag.staff, flag.superusers) == (None, None, True, False)
    assert (flag.languages, flag.note) == ("ru, en", "the note")
    assert [list(flag.users.all()), list(flag.groups.all())] == [[superadmin], [group]]
    changes = Change.objects.order_by("-pk")[:3]
    assert {(change.by, change.text, change.action) for change in changes} == {("root", "for the staff", "flag")}


def test_a_request_without_its_fields_leaves_them(flag: Flag, client: Client, superadmin: User) -> None:
    flag.users.add(superadmin)
    client.force_login(superadmin)
    page = f"/admin/rollout/flag/{flag.pk}/change/"
    answer = client.post(page, {"percent": "7", "reason": "r", "staff": "on", "note": ""})
    assert answer.status_code == 302
    flag = Flag.objects.get(name=NAME)
    assert (flag.percent, flag.staff, flag.superusers, flag.users.count()) == (Decimal(7), True, True, 1)


@pytest.mark.parametrize("name", BUCKETED)
def test_the_page_of_a_phase_has_its_own_fields(phases: Phases, client: Client, superadmin: User, name: str) -> None:
    client.force_login(superadmin)
    form = client.get(f"/admin/rollout/flag/{Flag.objects.get(name=name).pk}/change/").context["adminform"].form
    assert set(form.fields) == {
        "percent",
        "reason",
        "force",
        "note",
        "expect_revision",
        "expect_percent",
        "expect_modified",
    }


def test_who_may_only_see_it_sees_no_accounts(flag: Flag, client: Client) -> None:
    flag.users.add(User.objects.create_user("secret-account"))
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.groups.add(Group.objects.get(name="viewer"))
    client.force_login(viewer)
    page = client.get(f"/admin/rollout/flag/{flag.pk}/change/")
    assert page.status_code == 200
    assert "secret-account" not in page.content.decode()


@pytest.mark.parametrize("is_bulk", [True, False])
def test_a_deleted_phase_is_recorded_and_lowers_the_later_ones(phases: Phases, is_bulk: bool) -> None:
    phases(100, 100, 50, 25)
    revision = Rollout.current().revision
    phase = Flag.objects.filter(name=PHASES[2])
    if is_bulk:
        phase.delete()
    else:
        phase.get().delete()
    assert Flag.objects.get(name=PHASES[3]).percent == 0
    deletion, lowering = Change.objects.order_by("-pk")[:2]
    assert (deletion.action, lowering.action) == ("delete", "save")
    assert {PHASES[2]: "0", PHASES[3]: "0"}.items() <= lowering.after["percents"].items()
    assert Rollout.current().revision > revision
    assert decide("+79160000001").stage == 2
