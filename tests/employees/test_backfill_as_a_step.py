"""A backfill is started as a step of the rollout is: with a preview, a reason, and not while the rollout is paused."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from employees.backfill import batches
from employees.models import BackfillRun, Employee, University
from monitoring.audit import audit_log
from profiles.models import ProfileSource
from profiles.rollout.decision import forget_state
from profiles.rollout.models import UniversityRule
from tests.conftest import Phases, client_of
from tests.profiles.people import add_profile
from tests.rollout.changing import change

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
ADD = "/admin/employees/backfillrun/add/"
HELD = "The rollout is paused (wrong names): resume it first."


@pytest.fixture
def admin(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


@pytest.fixture
def _people(phases: Phases, university: University) -> None:
    """Two people without a name, one of them at a denied university, and one named by the direct API."""
    phases(100, 100, 0)
    denied = University.objects.create(name="Другой")
    UniversityRule.objects.create(university_id=denied.pk, phase=3, reason="r")
    add_profile("7", is_cached=False)
    rows = [(university, "default", "Неизвестно"), (denied, "default", "Неизвестно"), (university, "api", "Олег")]
    for number, (owner, source, name) in enumerate(rows):
        names = {"first_name": name, "last_name": "" if source == "api" else name}
        phone = f"+7916000000{number}"
        Employee.objects.create(phone=phone, max_id="7", university=owner, profile_source=source, **names)


def by_admin(**given: Any) -> str:
    client = Client()
    client.force_login(User.objects.get(username="root"))
    client.cookies["django_language"] = "en"
    form = {"batch_target_ms": 30, "pause_ms": 20, "reason": given["reason"]}
    if given.get("replaces"):
        form["replaces_names"] = "on"
    answer = client.post(ADD, form)
    if answer.status_code == 302:
        return ""
    errors = answer.context["adminform"].form.errors
    return str(next(iter(errors.values()))[0])


def by_command(**given: Any) -> str:
    words = ["--reason", given["reason"], "--detach", "--by", "root"] + ["--replace-names"] * given.get(
        "replaces", False
    )
    try:
        call_command("backfill", "start", *words, stdout=StringIO())
    except CommandError as refused:
        return str(refused)
    return ""


def by_api(**given: Any) -> str:
    body = {"reason": given["reason"], "replace_names": given.get("replaces", False)}
    answer = client_of(User.objects.get(username="root")).post("/monitoring/backfill", body, format="json")
    return "" if answer.status_code == 200 else str(answer.json()["error"]["message"])


SURFACES: list[Callable[..., str]] = [by_admin, by_command, by_api]


@pytest.mark.usefixtures("_people", "superadmin")
@pytest.mark.parametrize("start", SURFACES)
def test_it_works(start: Callable[..., str]) -> None:
    assert start(reason="the new ones", replaces=True) == ""
    run = BackfillRun.objects.get()
    assert (run.reason, run.started_by, run.replaces_names, run.status) == ("the new ones", "root", True, "running")
    [entry] = audit_log.entries(kind="backfill")
    assert (entry.by, entry.reason) == ("root", "the new ones")


@pytest.mark.usefixtures("_people", "superadmin")
def test_a_held_rollout_holds_it_in_the_same_words() -> None:
    change("pause", reason="wrong names")
    assert {start(reason="r") for start in SURFACES} == {HELD}
    out = StringIO()
    with pytest.raises(CommandError, match="The rollout is paused"):
        call_command("backfill", "start", "--dry-run", stdout=out)
    assert "Rows that would change: 1," in out.getvalue()
    assert not BackfillRun.objects.exists()


@pytest.mark.usefixtures("_people", "superadmin")
def test_an_emergency_stop_refuses_it_in_the_same_words() -> None:
    change("emergency")
    assert {start(reason="r") for start in SURFACES} == {"The emergency stop is on until somebody resumes the rollout."}
    assert not BackfillRun.objects.exists()


@pytest.mark.usefixtures("_people", "superadmin")
@pytest.mark.parametrize("start", [by_command, by_api])
def test_it_refuses_without_a_reason(start: Callable[..., str]) -> None:
    assert "reason" in start(reason=" ") or start(reason=" ")
    assert not BackfillRun.objects.exists()


@pytest.mark.usefixtures("_people")
def test_a_run_is_not_undone_while_another_is_open() -> None:
    earlier = batches.start()
    BackfillRun.objects.filter(pk=earlier.pk).update(status="done")
    batches.start()
    with pytest.raises(CommandError, match=r"^Only one backfill can be open at a time"):
        call_command("backfill", "undo", "--detach", stdout=StringIO())
    assert list(BackfillRun.objects.order_by("pk").values_list("status", flat=True)) == ["done", "running"]


@pytest.mark.usefixtures("_people")
def test_a_hold_stops_a_run_before_its_next_batch() -> None:
    run = batches.start()
    change("pause", reason="wrong names")
    assert not batches.run_batch(run)
    assert (run.status, run.pause_reason) == ("paused", "the rollout is paused")
    assert Employee.objects.filter(profile_source=ProfileSource.WEBHOOK).count() == 0


@pytest.mark.usefixtures("_people")
def test_the_page_previews_its_choices(admin: Client, university: University) -> None:
    page = admin.get(ADD).content.decode()
    for text in ("Start the backfill", "What the backfill would change", 'name="reason"'):
        assert text in page
    preview = f"{ADD}preview/"
    text = admin.get(preview).content.decode()
    for part in ("Неизвестно Неизвестно → <b>Иван Петров</b>", "Университет", 'value=":False"'):
        assert part in text
    assert "Другой" not in text
    # Nobody is admitted to the cache yet, so that no name from the direct API is replaced.
    assert "Олег" not in admin.get(f"{preview}?replaces_names=on").content.decode()
    UniversityRule.objects.create(university_id=university.pk, phase=3, is_allowed=True, reason="r")
    forget_state()
    assert "Олег → <b>Иван Петров</b>" in admin.get(f"{preview}?replaces_names=on").content.decode()


@pytest.mark.usefixtures("_people")
def test_other_choices_need_another_preview(admin: Client, university: University) -> None:
    form = {"batch_target_ms": 30, "pause_ms": 20, "reason": "r", "replaces_names": "on"}
    answer = admin.post(ADD, form | {"previewed": ":False"})
    assert "The choices have changed since the preview" in answer.content.decode()
    assert admin.post(ADD, form | {"previewed": ":True"}).status_code == 302


@pytest.mark.usefixtures("_people")
def test_it_counts_what_it_changed_left_and_gave_back(admin: Client) -> None:
    call_command("backfill", "start", "--reason", "r", stdout=StringIO())
    run = BackfillRun.objects.get()
    assert (run.rows_changed, run.rows_unchanged, run.rows_restored) == (1, 2, 0)
    out = StringIO()
    call_command("backfill", "undo", stdout=out)
    assert "1 given back" in out.getvalue()
    page = admin.get(f"/admin/employees/backfillrun/{run.pk}/progress/").content.decode()
    for text in ("Names changed", "Unchanged", "Restored"):
        assert text in page


@pytest.mark.usefixtures("_people")
def test_the_api_previews_pauses_and_undoes(superadmin: User) -> None:
    api = client_of(superadmin)
    dry = api.post("/monitoring/backfill", {"reason": "r", "dry_run": True}, format="json").json()
    assert (dry["total"], dry["changes"]) == (
        1, [{"university": "Университет", "now": "default", "then": "webhook", "count": 1}],
    )  # fmt: skip
    assert api.get("/monitoring/backfill").status_code == 404
    api.post("/monitoring/backfill", {"reason": "r"}, format="json")
    assert api.post("/monitoring/backfill/pause", {"reason": "night"}, format="json").json()["status"] == "paused"
    assert api.post("/monitoring/backfill/pause", {"reason": "night"}, format="json").status_code == 400
    assert api.post("/monitoring/backfill/undo", {"reason": "wrong"}, format="json").json()["status"] == "undoing"
