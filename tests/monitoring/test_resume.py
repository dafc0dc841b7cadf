"""A resume starts a new monitored period: each reader of evidence counts from it, and a step restarts no reader.

Readers of work that remains, and of faults that still exist, do not count from it.
"""

import ast
import inspect
import io
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from types import ModuleType

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from employees.models import BackfillBatch, BackfillRun
from monitoring.alerts import engine
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert
from monitoring.indicators import measurements, rounds
from monitoring.indicators.models import IndicatorReading, Level, RoundTrip
from monitoring.rollout_control import controller, gates
from monitoring.rollout_control.models import GateCheck, Verdict
from monitoring.stats import comparison_stats
from profiles.rollout.models import Change, Rollout
from profiles.rollout.monitored_period import monitored_since
from tests.conftest import Phases
from tests.monitoring.alert_causes import NOON, Clock
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from tests.rollout.changing import change
from webhooks.models import InboxUpdate, State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
MINUTE = timedelta(minutes=1)
RESTART = "Comparisons before 25 Nov 2026, 12:02 MSK no longer count"
RESTART_IN_COMMANDS = "Comparisons before 2026-11-25 12:02:00+03:00 no longer count"
RESTART_IN_THE_API = "Comparisons before 25 Nov 2026, 09:02 UTC no longer count"


@pytest.fixture(autouse=True)
def _at_phase_3(clock: Clock, phases: Phases) -> None:
    phases(100, 100, 25)


def receive(state: State, took: timedelta = timedelta()) -> None:
    at = timezone.now() - took
    for _ in range(20):
        InboxUpdate.objects.create(
            dedup_key=str(InboxUpdate.objects.count()).encode(),
            update_type="bot_started",
            state=state,
            received_at=at,
            next_try_at=at,
            finished_at=None if state == State.PENDING else timezone.now(),
        )


def level(indicator: str) -> Callable[[], str]:
    return lambda: rounds.measure([indicator])[indicator].level


def gate(name: str) -> Callable[[], str]:
    def read() -> str:
        return str(gates.run_gate(name, gates.transition_step(3, Decimal(50)), rounds.fresh()).verdict)

    return read


def disagree() -> None:
    compared(100, "conflict", stage=3)
    compared(100, stage=2)


def have_errors() -> None:
    compared(100, "both_empty", stage=3, served_source="default", served_ms=900.0)
    compared(100, stage=2)


def grow(name: str, growth: int) -> None:
    row = {"name": name, "level": Level.OK, "message": {"msgid": "x", "words": {}}}
    for at, grown in ((timezone.now() - MINUTE, 0), (timezone.now(), growth)):
        data = {"counter": 0, "grown": grown}
        IndicatorReading.objects.create(round_at=at, measured_at=timezone.now(), data=data, **row)


def pass_twice() -> None:
    for minutes in (5, 2):
        GateCheck.objects.create(
            at=timezone.now() - minutes * MINUTE, phase=3, gate="agreement", verdict="PASS", message="m"
        )


def fire_an_alert() -> None:
    receive(State.DEAD)
    engine.check_alerts()


def breach_twice() -> None:
    disagree()
    controller.check()
    controller.check()


def fail_a_batch() -> None:
    run = BackfillRun.objects.create(until_id=10, status="done")
    BackfillBatch.objects.create(run=run, status="failed", after_id=0, until_id=10)


def is_held_at_next_breach() -> bool:
    disagree()
    controller.check()
    return Rollout.current().is_paused


# Each reader of history: what spoils it, how it is read, and what it returns before and after a resume.
READERS: dict[str, tuple[Callable[[], object], Callable[[], object], object, object]] = {
    "agreement": (lambda: compared(700, "conflict"), level("agreement"), "warning", "unknown"),
    "conflicts": (lambda: compared(700, "conflict"), level("conflicts"), "warning", "unknown"),
    "universities": (disagree, level("universities_standing_out"), "warning", "ok"),
    "evidence against the cache": (disagree, level("reason_against"), "warning", "unknown"),
    "comparison errors": (
        lambda: compared(9, "api_error"),
        lambda: rounds.measure(["comparison_errors"])["comparison_errors"].value,
        1.0,
        None,
    ),
    "webhook errors": (lambda: receive(State.DEAD), level("webhook_error_rate"), "critical", "unknown"),
    "inbox lag": (lambda: receive(State.DONE, 2 * MINUTE), level("inbox_lag"), "warning", "unknown"),
    "evictions": (lambda: grow("evictions", 9), level("evictions"), "warning", "ok"),
    "round trip": (lambda: RoundTrip.objects.create(error="not processed"), level("round_trip"), "warning", "unknown"),
    "checks in a row": (
        pass_twice,
        lambda: gates.passes_in_a_row(3, "agreement", 2, timezone.now()),
        2,
        0,
    ),
    "agreement of the cohort": (disagree, gate("cohort_agreement"), "FAIL", "PASS"),
    "errors of the cohort": (have_errors, gate("cohort_errors"), "FAIL", "INCONCLUSIVE"),
    "speed of the cohort": (have_errors, gate("cohort_speed"), "FAIL", "INCONCLUSIVE"),
    "alerts": (fire_an_alert, gate("no_alert"), "FAIL", "INCONCLUSIVE"),
    "tripwire": (breach_twice, is_held_at_next_breach, True, False),
}

# Readers of what a resume does not end: what causes it, and how it is read.
REMAINING: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "dead letters": (lambda: receive(State.DEAD), level("dead_letters")),
    "wrong secrets": (
        lambda: grow("secret_failures", 20),
        lambda: rounds.measure(["secret_failures"], is_worker=True)["secret_failures"].level,
    ),
    "failed batches": (fail_a_batch, level("backfill_failed_batches")),
    "waiting updates": (lambda: receive(State.PENDING, timedelta(hours=1)), level("inbox_lag")),
}


@pytest.mark.long
@pytest.mark.parametrize("reader", READERS)
def test_it_works(reader: str, clock: Clock) -> None:
    spoil, read, before, after = READERS[reader]
    clock.shift(2 * MINUTE)
    spoil()
    clock.shift(MINUTE)
    if reader != "tripwire":
        assert read() == before
    change("pause")
    change("resume")
    clock.shift(timedelta(seconds=2))
    assert read() == after


@pytest.mark.parametrize("reader", REMAINING)
def test_a_resume_does_not_end_what_remains(reader: str, clock: Clock) -> None:
    cause, read = REMAINING[reader]
    clock.shift(2 * MINUTE)
    cause()
    clock.shift(MINUTE)
    before = read()
    assert before in ("warning", "critical")
    change("pause")
    change("resume")
    clock.shift(timedelta(seconds=2))
    assert read() == before


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, ...]]:
    """Return the number of refused requests, to be increased by the test."""
    counts: Counter[tuple[str, ...]] = Counter({("401",): 0})
    monkeypatch.setattr(measurements, "counted", lambda _name: counts)
    return counts


@pytest.mark.long
@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("dead letters", Kind.DEAD_LETTERS),
        ("wrong secrets", Kind.SECRET_FAILURES),
        ("failed batches", Kind.BACKFILL_FAILED),
    ],
)
def test_what_was_known_at_a_resume_does_not_hold_phase_4_again(
    cause: str, kind: Kind, clock: Clock, phases: Phases, refused: Counter[tuple[str, ...]]
) -> None:
    def spoil() -> None:
        if cause == "wrong secrets":
            refused[("401",)] += 20
        else:
            REMAINING[cause][0]()

    def is_held_after(checks: int) -> bool:
        for _ in range(checks):
            clock.shift(5 * MINUTE)
            receive(State.DONE)
            engine.check_alerts()
            controller.check()
        return Rollout.current().is_paused

    phases(100, 100, 100, 25)
    assert not is_held_after(2)
    spoil()
    assert is_held_after(3)
    change("resume")
    assert not is_held_after(9)
    assert Alert.objects.open().filter(kind=kind).exists()
    gate = gates.run_gate("no_alert", gates.transition_step(4, Decimal(50)), rounds.fresh())
    assert str(gate.message) == "no alerts since the rollout resumed; older open alerts: 1"
    spoil()
    assert is_held_after(3)


@pytest.mark.long
def test_a_resume_leaves_the_alert_about_dead_letters_open(clock: Clock) -> None:
    receive(State.DEAD)
    engine.check_alerts()
    change("pause")
    clock.shift(MINUTE)
    change("resume")
    for _ in range(20):
        clock.shift(MINUTE)
        engine.check_alerts()
    assert Alert.objects.open().filter(kind="dead_letters").exists()


# What gates say while they have found nothing: before a resume, and right after it.
NOTHING = {
    "round_trip": ("no synthetic update in the last 10 minutes", "not checked yet since the rollout resumed"),
    "inbox_lag": ("no updates in the last 10 minutes", "no updates since the rollout resumed"),
    "webhook_errors": ("no updates in the last day", "no updates processed since the rollout resumed"),
    "cohort_errors": (
        "0 of 5 lookups through the cache since the step",
        "0 of 5 lookups through the cache since the rollout resumed",
    ),
    "no_alert": ("no open alert", "not checked yet since the rollout resumed"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", NOTHING)
def test_after_a_resume_no_gate_denies_what_it_showed(name: str, clock: Clock) -> None:
    def message() -> str:
        return str(gates.run_gate(name, gates.transition_step(3, Decimal(50)), rounds.fresh()).message)

    clock.shift(MINUTE)
    engine.check_alerts()
    assert message() == NOTHING[name][0]
    change("pause")
    change("resume")
    clock.shift(timedelta(seconds=30))
    assert message() == NOTHING[name][1]


@pytest.mark.long
def test_without_a_resume_the_third_breach_holds(clock: Clock) -> None:
    breach_twice()
    assert is_held_at_next_breach()


# The functions that may subtract from the present moment: they read no evidence, or what a resume does not end.
OF_THE_PRESENT = {
    "gates": {"rehearsed"},
    "controller": set(),
    "comparison_stats": {"recent"},
    "measurements": {"_nothing", "dead_letters", "secret_failures", "standby_wait"},
}


@pytest.mark.parametrize("module", [gates, controller, comparison_stats, measurements])
def test_every_window_begins_at_the_resume(module: ModuleType) -> None:
    """A new reader of evidence uses monitored_since(), and stands in READERS."""
    found = {
        function.name
        for function in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and ast.unparse(node.left) == "timezone.now()"
    }
    assert found == OF_THE_PRESENT[module.__name__.rpartition(".")[2]]


def test_a_stored_round_from_before_does_not_count(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rollout was once held two seconds after the resume, by a round measured before it."""
    monkeypatch.setattr(rounds, "FRESH", timedelta(seconds=10))
    disagree()
    assert rounds.take_round()["reason_against"].level == Level.WARNING
    change("pause")
    clock.shift(timedelta(seconds=1))
    change("resume")
    clock.shift(timedelta(seconds=1))
    assert rounds.latest()["reason_against"].level == Level.UNKNOWN
    assert rounds.fresh()["reason_against"].level == Level.UNKNOWN


def test_a_step_restarts_no_history(clock: Clock) -> None:
    compared(700)
    add_profile("7")
    gates.check(3, Decimal(50))
    clock.shift(2 * MINUTE)
    change("set", phase=3, percent=50)
    assert rounds.fresh()["agreement"].n == 700
    assert gates.passes_in_a_row(3, "agreement", 2, timezone.now()) == 1
    assert gate("cohort_errors")() == Verdict.INCONCLUSIVE


@pytest.mark.long
def test_while_paused_no_breach_is_counted(clock: Clock) -> None:
    disagree()
    change("pause")
    for _ in range(3):
        controller.check()
        clock.shift(MINUTE)
    assert not GateCheck.objects.filter(gate="tripwire", verdict=Verdict.FAIL).exists()


def test_a_resume_without_a_pause_restarts_nothing(clock: Clock) -> None:
    since = monitored_since()
    change("resume")
    assert monitored_since() == since


@pytest.mark.long
def test_after_the_clock_was_set_back_breaches_still_pause_the_rollout(clock: Clock) -> None:
    clock.shift(60 * MINUTE)
    change("pause")
    change("resume")
    for _ in range(3):
        controller.check()
    clock.move_to(NOON)
    disagree()
    controller.check()
    controller.check()
    assert not Rollout.current().is_paused
    controller.check()
    assert Rollout.current().is_paused


@pytest.mark.long
def test_after_the_clock_was_set_back_old_breaches_do_not_pause_the_rollout_again(clock: Clock) -> None:
    clock.shift(60 * MINUTE)
    disagree()
    for _ in range(3):
        controller.check()
    assert Rollout.current().is_paused
    clock.move_to(NOON)
    change("resume")
    disagree()
    controller.check()
    assert not Rollout.current().is_paused


@pytest.mark.long
def test_after_the_clock_was_set_back_the_controller_checks_once_an_interval(clock: Clock) -> None:
    clock.shift(60 * MINUTE)
    controller.run()
    clock.move_to(NOON)
    controller.run()
    count = GateCheck.objects.count()
    controller.run()
    assert GateCheck.objects.count() == count


@pytest.mark.long
def test_every_surface_says_so(clock: Clock, client: Client, superadmin: User, api: APIClient) -> None:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    change("pause")
    clock.shift(2 * MINUTE)
    assert RESTART in client.get("/admin/steer/resume/").content.decode()
    out = io.StringIO()
    call_command("rollout", "resume", "--reason", "fixed", "--dry-run", stdout=out)
    assert RESTART_IN_COMMANDS in out.getvalue()
    dry = api.post("/monitoring/rollout/resume", {"reason": "fixed", "dry_run": True}, format="json").json()
    assert RESTART_IN_THE_API in dry["changes"]
    assert not Change.objects.filter(action="resume").exists()

    answer = api.post("/monitoring/rollout/resume", {"reason": "fixed"}, format="json").json()
    assert RESTART_IN_THE_API in answer["changes"]
    assert api.get("/monitoring/rollout").json()["monitored_since"] == "2026-11-25T09:02:00Z"
    clock.shift(MINUTE)
    for path in ("/admin/rollout/", "/admin/live/rollout/", "/admin/audit/"):
        assert RESTART in client.get(path).content.decode(), path
    for command, expected in (
        ("status", RESTART_IN_COMMANDS),
        ("gates", RESTART_IN_COMMANDS),
        ("history", "no longer count"),
    ):
        out = io.StringIO()
        call_command("rollout", command, stdout=out)
        assert expected in " ".join(out.getvalue().split()), command
    assert monitored_since() == NOON + 2 * MINUTE


def test_failed_batches_of_an_undone_run_do_not_count(clock: Clock) -> None:
    fail_a_batch()
    BackfillRun.objects.update(status="undone")
    assert rounds.measure(["backfill_failed_batches"])["backfill_failed_batches"].value == 0
