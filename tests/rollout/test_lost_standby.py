"""While a synchronous standby is lost, the rollout can be stopped and paused at once, and every surface says so."""

import io
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple, NoReturn

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient
from waffle.models import Switch

from config.dev import embedded
from config.postgres import base, locks
from config.postgres.base import (
    CommitNotConfirmed,
    DatabaseWrapper,
    DeadlineConnection,
    parameters,
    statement_deadline,
    without_standby,
)
from employees.credentials.models import ApiKey
from employees.models import University
from monitoring.rollout_control import approvals, controller, gates, rollback, terminal
from monitoring.rollout_control.approvals import Decider
from monitoring.rollout_control.models import GateCheck, Verdict
from profiles import admin
from profiles.models import Erasure, Profile
from profiles.personal_data import erasure
from profiles.rollout import changes, lock, standby
from profiles.rollout.approvals import approval_of
from profiles.rollout.changes import Latched
from profiles.rollout.lock import Busy
from profiles.rollout.models import Approval, Flag, Rollout, UniversityRule
from profiles.rollout.phases import EMERGENCY_STOP, PHASES
from profiles.rollout.rules import ChangeRefused
from tests.conftest import Phases
from tests.database_dump import _BINARIES
from tests.lost_standby import WRITE, end_waits, lose_standby
from tests.profiles.fake_max import FakeMax
from tests.profiles.people import add_profile
from tests.rollout.changing import change, plan_step, request
from tests.servers import FaultyServer, servers
from tests.waiting import within

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("patient_cancellations")]

HERE_ONLY = "Stored on this server only: the standby has not confirmed the change"
ROW = {"reason": "r"}
# In seconds. Without a limit, a commit waits until the standby is back.
PATIENCE = 40


class Site(NamedTuple):
    """The clients of all surfaces, and a connection that sees what others see."""

    admin: Client
    api: APIClient
    key: ApiKey
    others: psycopg.Connection

    def sees(self) -> tuple[bool, bool]:
        """Return whether the rollout is stopped, and whether it is paused."""
        stopped = self.others.execute("SELECT active FROM waffle_switch WHERE name = %s", [EMERGENCY_STOP]).fetchone()
        paused = self.others.execute("SELECT is_paused FROM rollout_rollout").fetchone()
        return bool(stopped and stopped[0]), bool(paused and paused[0])

    def percent(self) -> float:
        """Return the percentage of phase 3."""
        row = self.others.execute("SELECT percent FROM rollout_flag WHERE name = %s", [PHASES[2]]).fetchone()
        assert row
        return float(row[0])

    def waiting(self) -> int:
        """Return the number of sessions whose commits wait for the standby."""
        query = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        return len(self.others.execute(query).fetchall())


@pytest.fixture
def site(
    phases: Phases, superadmin: User, api: APIClient, redis: Any, direct: FakeMax, durable_postgres: FaultyServer
) -> Iterator[Site]:
    """Have Django use a copy of the database on a server whose commits wait for a standby that does not exist."""
    phases(100, 100, 5)
    admin = Client()
    admin.force_login(superadmin)
    # What is imported for the first request takes seconds.
    admin.get("/admin/rollout/")
    key = ApiKey(name="k", owner=superadmin, expires_at=timezone.now() + timedelta(days=1))
    key.generate()
    key.save()
    here = embedded.postgres_url(embedded.socket_path(servers.folder), str(connection.settings_dict["NAME"]))
    dump = subprocess.run([_BINARIES / "pg_dump", here], check=True, stdout=subprocess.PIPE).stdout  # noqa: S603 (ours)
    restore = [str(_BINARIES / "psql"), "-Xq1", "-v", "ON_ERROR_STOP=1", durable_postgres.url]
    subprocess.run(restore, check=True, input=dump, stdout=subprocess.DEVNULL)  # noqa: S603 (ours)
    with psycopg.connect(durable_postgres.url, autocommit=True) as others, pytest.MonkeyPatch.context() as patch:
        lose_standby(others)
        connection.close()
        patch.setattr(standby, "_CONFIRM_SECONDS", 1.0)
        patch.setitem(connection.settings_dict, "HOST", durable_postgres.url.partition("host=")[2])
        patch.setitem(connection.settings_dict, "NAME", "directory")
        try:
            yield Site(admin, api, key, others)
        finally:
            connection.close()


@contextmanager
def commits_within(seconds: float, site: Site) -> Iterator[None]:
    """Fail if the block takes longer, and end it then: without a limit, a commit waits until the standby is back."""
    ended = threading.Event()

    def end() -> None:
        while not ended.wait(0.5):
            with psycopg.connect(site.others.info.dsn, autocommit=True) as other:
                end_waits(other)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        with within(seconds):
            yield
    finally:
        ended.set()
        timer.cancel()


def command(*words: str) -> str:
    output = io.StringIO()
    call_command(*words, "--reason=r", stdout=output)
    return output.getvalue()


def unconfirmed(*words: str) -> str:
    """Return the output of a command that stops or pauses; its exit code is 3 if the standby has not confirmed that."""
    output, code = io.StringIO(), 0
    try:
        call_command(*words, "--reason=r", stdout=output)
    except CommandError as error:
        code = error.returncode
    assert code == (3 if HERE_ONLY in output.getvalue() else 0)
    return output.getvalue()


def switch_form(site: Site) -> str:
    path = f"/admin/waffle/switch/{Switch.objects.get(name=EMERGENCY_STOP).pk}/change/"
    return site.admin.post(path, ROW | {"active": "on"}, follow=True).content.decode()


SURFACES: dict[str, Callable[[Site], str]] = {
    "the API stops": lambda site: str(site.api.post("/monitoring/rollout/emergency", ROW, format="json").json()),
    "a command stops": lambda site: unconfirmed("rollback", "emergency"),
    "the page stops": lambda site: site.admin.post("/admin/emergency/", ROW | {"word": "stop"}).content.decode(),
    "the form stops": switch_form,
    "the API pauses": lambda site: str(site.api.post("/monitoring/rollout/pause", ROW, format="json").json()),
    "a command pauses": lambda site: unconfirmed("rollout", "pause"),
    "the page pauses": lambda site: site.admin.post("/admin/steer/pause/", ROW, follow=True).content.decode(),
}


@pytest.mark.long
@pytest.mark.parametrize("name", SURFACES)
def test_each_surface_goes_on_and_warns(site: Site, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        with commits_within(PATIENCE, site):
            words = SURFACES[name](site)
        assert site.sees() == (name.endswith("stops"), name.endswith("pauses"))
        assert HERE_ONLY in words
        assert "has not responded" not in words, "the lookup of a verification waited for the standby"
        assert ("not verified" in words) == (name == "the page stops")
    site.others.execute("ALTER SYSTEM RESET synchronous_standby_names")
    site.others.execute("SELECT pg_reload_conf()")
    # It waits until the setting has taken effect.
    site.others.execute(WRITE)
    monkeypatch.setattr(standby, "_CONFIRM_SECONDS", 60.0)
    assert HERE_ONLY not in SURFACES[name](site)


@pytest.mark.long
def test_a_latch_goes_on_and_warns(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOCK_TIMEOUT_MS", 100)
    with psycopg.connect(site.others.info.dsn) as holder:
        holder.execute("SELECT 1 FROM rollout_rollout FOR UPDATE")
        with commits_within(PATIENCE, site), pytest.raises(Latched, match=HERE_ONLY):
            changes.apply(request("emergency"))
        holder.rollback()
    assert site.sees() == (True, False)


@pytest.mark.long
def test_all_else_waits_for_it_but_not_for_long(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits holds the lock that a stop needs."""
    # A dry run has nothing to wait for.
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 2 * PATIENCE)
    with commits_within(PATIENCE, site):
        assert "Dry run" in command("rollout", "set", "--phase=3", "--percent=1", "--dry-run")
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 1.0)
    for words in (("rollout", "set", "--phase=3", "--percent=1"), ("rollout", "switch", "monitoring", "off")):
        started = time.monotonic()
        with commits_within(PATIENCE, site), pytest.raises(CommandError, match=HERE_ONLY) as failed:
            command(*words)
        assert failed.value.returncode == 3
        assert time.monotonic() - started >= 1
    assert site.percent() == 1
    assert not Switch.objects.get(name="monitoring").active
    with commits_within(PATIENCE, site), pytest.raises(CommitNotConfirmed):
        change("resume")


@pytest.fixture
def no_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no request to cancel a statement arrive, as if each took longer than anybody waits."""

    def cancel_safe(_: object, *, timeout: float) -> NoReturn:
        time.sleep(min(timeout, 0.1))
        raise psycopg.errors.CancellationTimeout("cancellation timeout expired")

    monkeypatch.setattr(DeadlineConnection, "cancel_safe", cancel_safe)
    monkeypatch.setattr(base, "_cancel_late", lambda _cancellation: None)


@pytest.mark.long
@pytest.mark.usefixtures("no_cancellation")
def test_a_change_that_waits_for_ever_locks_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that waits for a standby does not notice that its client has left."""
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 3.0)
    close = DatabaseWrapper.close
    with pytest.MonkeyPatch.context() as patch:

        def close_for_good(wrapper: Any) -> None:
            close(wrapper)
            patch.setitem(connection.settings_dict, "HOST", "/nowhere")

        patch.setattr(DatabaseWrapper, "close", close_for_good)
        with commits_within(PATIENCE, site), pytest.raises(CommandError, match=HERE_ONLY) as failed:
            command("rollout", "set", "--phase=3", "--percent=1")
    assert (failed.value.returncode, site.percent(), bool(site.waiting())) == (3, 1, True)
    with commits_within(PATIENCE, site):
        changes.apply(request("emergency"))
    assert (*site.sees(), site.percent()) == (True, False, 0)
    with without_standby():
        add_profile("7")
    with commits_within(PATIENCE, site):
        answer = site.api.delete("/profiles/7")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "NOT_CONFIRMED")
    assert "Retry-After" not in answer.headers, "a client that repeats a change may do it twice"
    assert HERE_ONLY in answer.json()["error"]["message"]
    assert not Profile.objects.exists()
    assert Erasure.objects.get().by
    assert site.others.execute("SELECT pg_try_advisory_xact_lock_shared(%s)", [0x70E57]).fetchone() == (True,)
    with commits_within(PATIENCE, site):
        answer = site.api.post("/monitoring/rollout/resume", ROW, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "NOT_CONFIRMED")
    assert site.sees() == (False, False)


@pytest.mark.long
def test_a_cancelled_plan_and_a_request_for_approval_wait_no_longer(
    site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 1.0)
    schedule = ("rollout", "schedule", "--phase=3", "--percent=25", "--at=24h")
    with commits_within(PATIENCE, site), pytest.raises(CommandError, match=HERE_ONLY):
        command(*schedule)
    number = site.others.execute("SELECT id FROM rollout_plan").fetchone()
    assert number
    with commits_within(PATIENCE, site), pytest.raises(CommandError, match=HERE_ONLY):
        command("rollout", "unschedule", str(number[0]))
    settings.ROLLOUT_APPROVALS = True
    with without_standby():
        university = University.objects.create(name="u")
    with commits_within(PATIENCE, site), pytest.raises(CommandError, match=HERE_ONLY) as failed:
        command("rollout", "university", "allow", "--id", str(university.pk))
    assert failed.value.returncode == 4


@pytest.mark.long
def test_a_refusal_waits_no_longer(
    site: Site, superadmin: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ROLLOUT_APPROVALS = True
    monkeypatch.setattr(changes, "_gate_checks", [lambda *_: ([], None)])
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 0.5)
    with commits_within(PATIENCE, site), pytest.raises(CommandError, match=HERE_ONLY):
        command("rollout", "set", "--phase=3", "--percent=25")
    number = Approval.objects.get().pk
    decider = Decider.of(superadmin)
    with commits_within(PATIENCE, site):
        approvals.refuse(number, decider, "no", is_dry_run=True)
    # Nobody waits for whoever waits for the standby.
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 8.0)
    refusals: list[BaseException] = []

    def refuse() -> None:
        try:
            approvals.refuse(number, decider, "no")
        except CommitNotConfirmed as error:
            refusals.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=refuse)
    with commits_within(PATIENCE, site):
        thread.start()
        while not site.waiting():
            time.sleep(0.02)
        with pytest.raises(ChangeRefused, match="not waiting for approval"):
            approvals.approve(number, decider, "yes")
        assert thread.is_alive()
        thread.join()
    assert len(refusals) == 1


@pytest.mark.long
@pytest.mark.parametrize("table", ["rollout_plan", "rollout_approval"])
def test_a_decision_waits_for_a_lock_no_longer(
    phases: Phases, superadmin: User, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK_TIMEOUT_MS", 200)
    phases(100, 100, 5)
    plan = plan_step(3, 25, timezone.now() + timedelta(hours=1))
    approval = approval_of(request("resume"), {}, {}, Rollout.current().revision)
    approval.save()
    decider = Decider.of(superadmin)
    with psycopg.connect(**parameters()) as holder:
        holder.execute(f"SELECT 1 FROM {table} FOR UPDATE")  # noqa: S608 (ours)
        started = time.monotonic()
        if table == "rollout_plan":
            with pytest.raises(Busy, match=str(holder.info.backend_pid)):
                change("cancel", plan=plan.pk)
        else:
            for decide in approvals.VERDICTS.values():
                with pytest.raises(Busy, match=str(holder.info.backend_pid)):
                    decide(approval.pk, decider, "r")
        assert time.monotonic() - started < 30


def test_only_a_commit_at_its_limit_is_stored_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def cancel(*_: object, **__: object) -> None:
        raise OperationalError from psycopg.errors.QueryCanceled()

    monkeypatch.setattr(terminal, "status", cancel)
    with pytest.raises(OperationalError):
        call_command("rollout", "status")


def test_a_slow_server_without_a_standby_loses_nothing(phases: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    def deadline(seconds: float, **options: float) -> AbstractContextManager[None]:
        deadlines.append(seconds)
        if len(deadlines) == 1:
            raise OperationalError
        return statement_deadline(seconds, **options)

    deadlines = list[float]()
    monkeypatch.setattr(standby, "statement_deadline", deadline)
    assert not changes.apply(request("pause")).is_here_only
    assert len(deadlines) == 2


@pytest.mark.long
def test_other_commands_end_with_3(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 0.5)
    with without_standby():
        university = University.objects.create(name="u")
        Flag.objects.create(name="own")
    rehearsal = ("rollback", "emergency", "--rehearse", "--university", str(university.pk), "--reason=r")
    deletion = ("waffle_delete", "--flags", "own")
    for words in (rehearsal, deletion, ("erase_person", "--user-id=7", "--reason=r")):
        with commits_within(PATIENCE, site), pytest.raises(CommandError, match=HERE_ONLY) as failed:
            call_command(*words)
        assert failed.value.returncode == 3
    assert not UniversityRule.objects.exists(), "the rehearsal still denies the university"
    assert not Flag.objects.filter(name="own").exists()
    assert Erasure.objects.get().reason == "r"


@pytest.mark.long
def test_the_first_of_several_changes_does_not_end_them(
    site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 1.0)

    def clear() -> int:
        rules = [UniversityRule(university_id=7, is_allowed=is_allowed, reason="r") for is_allowed in (True, False)]
        with without_standby():
            UniversityRule.objects.bulk_create(rules, ignore_conflicts=True)
        with commits_within(PATIENCE, site), pytest.raises(CommandError, match=HERE_ONLY) as failed:
            command("rollout", "university", "clear", "--id=7")
        return failed.value.returncode

    assert (clear(), UniversityRule.objects.count()) == (3, 0)
    settings.ROLLOUT_APPROVALS = True
    assert (clear(), Approval.objects.count()) == (4, 1)
    with without_standby():
        people = [add_profile(user_id).pk for user_id in ("7", "8")]
    chosen = {"action": "delete_selected", "_selected_action": people, "post": "yes"}
    with commits_within(PATIENCE, site):
        page = site.admin.post("/admin/profiles/profile/", ROW | chosen)
    assert (page.status_code, HERE_ONLY in page.content.decode()) == (503, True)
    assert (Profile.objects.count(), Erasure.objects.count()) == (0, 2)


@pytest.mark.long
@pytest.mark.parametrize("stored", [0, 1])
def test_an_error_after_the_first_of_several_does_not_hide_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, stored: int
) -> None:
    """If the first one fails, there is nothing to confirm. The error itself is shown then."""

    def erase_some(*arguments: Any, **options: Any) -> Any:
        if Erasure.objects.count() == stored:
            connection.close()
            raise OperationalError
        return erase(*arguments, **options)

    erase = erasure.erase
    monkeypatch.setattr(admin, "erase", erase_some)
    monkeypatch.setattr(locks, "COMMIT_SECONDS", 1.0)
    with without_standby():
        people = [add_profile(user_id).pk for user_id in ("7", "8")]
    chosen = {"action": "delete_selected", "_selected_action": people, "post": "yes"}
    with commits_within(PATIENCE, site):
        page = site.admin.post("/admin/profiles/profile/", ROW | chosen)
    assert (page.status_code, HERE_ONLY in page.content.decode()) == (503, bool(stored))
    assert (Profile.objects.count(), Erasure.objects.count()) == (2 - stored, stored)


@pytest.mark.long
def test_a_stop_is_not_verified_while_all_heartbeats_wait(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollback, "VERIFIED_WITHIN", 0.2)
    site.others.execute("SET synchronous_commit = local")
    silent = (
        "INSERT INTO rollout_heartbeat (process, revision, seen_at) VALUES ('web-a-1', 0, now() - interval '1 min')"
    )
    site.others.execute(silent)
    with commits_within(PATIENCE, site), pytest.raises(CommandError, match="not verified: 0 of 0 processes") as failed:
        command("rollback", "emergency")
    assert failed.value.returncode == 3
    with commits_within(PATIENCE, site):
        body = site.api.post("/monitoring/rollout/emergency", ROW, format="json").json()
    assert (str(body).count(HERE_ONLY), "not verified" in str(body["verification"])) == (1, True)


@pytest.mark.long
def test_the_controller_checks_without_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A breach pauses the rollout, although the worker gives up its commits."""

    def breached(phase: int) -> gates.Evaluation:
        found = check_tripwires(phase)
        return replace(found, results=[replace(each, verdict=Verdict.FAIL) for each in found.results])

    check_tripwires = gates.check_tripwires
    monkeypatch.setattr(gates, "check_tripwires", breached)
    monkeypatch.setattr(controller, "CHECKS_IN_A_ROW", 1)
    monkeypatch.setattr(DatabaseWrapper, "commit_seconds", 15.0)
    with without_standby():
        row = GateCheck.objects.create(gate="old", phase=3, verdict=Verdict.PASS, message="", at=timezone.now())
        GateCheck.objects.update(at=timezone.now() - 2 * controller.RETENTION)
    with commits_within(PATIENCE, site):
        controller.check()
    assert GateCheck.objects.exists()
    assert not GateCheck.objects.filter(pk=row.pk).exists()
    assert Rollout.current().is_paused
    with without_standby():
        assert not standby.is_confirmed()
