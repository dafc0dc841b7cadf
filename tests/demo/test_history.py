"""The demo's two weeks: the same for a seed, written once, and what SQL recounts equals what the pages show."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
import pytest_django
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.test import Client, override_settings
from django.utils import timezone
from django_redis import get_redis_connection
from pytest_django.fixtures import Settings

from config.dev.demo import history, users
from config.dev.demo.people import UNIVERSITIES, person
from config.dev.demo.simulation import Simulation
from config.dev.demo.story import DENIED, Story
from employees.backfill import batches
from employees.models import BackfillRun, Employee, RunStatus, University
from monitoring.alerts import engine
from monitoring.alerts.models import Alert
from monitoring.audit.audit_log import entries
from monitoring.indicators.models import IndicatorReading
from monitoring.rollout_control import gate_history, gates
from monitoring.rollout_control.models import GateCheck
from monitoring.stats import reports
from profiles import cache
from profiles.models import Comparison, Profile, ProfileSource
from profiles.rollout import rules
from profiles.rollout.decision import current_state, forget_state
from profiles.rollout.models import Action, Change, Flag
from profiles.rollout.phases import PHASES
from webhooks.models import InboxUpdate, State
from webhooks.processing import interpret, process_inbox

pytestmark = pytest.mark.django_db
COUNT = 300
# The gates of phase 3 with a number.
SHOWN = (
    "updates_arrive", "few_evictions", "agreement", "conflicts", "universities", "quality",
    "cohort_agreement", "cohort_errors", "cohort_speed", "dwell",
)  # fmt: skip


@pytest.fixture(scope="module")
def generated(django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker) -> Iterator[Simulation]:
    """Generate once, in a transaction around those of the tests."""
    with django_db_blocker.unblock(), override_settings(DEBUG=True), transaction.atomic():
        yield history.generate(employees=COUNT)
        transaction.set_rollback(True)
    forget_state()
    get_redis_connection("default").flushdb()


@pytest.fixture
def lived(generated: Simulation, db: None) -> Simulation:
    return generated


def rows(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def simulated(seed: int) -> Simulation:
    return Simulation(Story(NOW), [1, 2, 3, 4, 5, 6], 120, seed, "migration").run()


NOW = timezone.now().replace(microsecond=0)


@pytest.mark.long
def test_it_works(lived: Simulation) -> None:
    assert list(University.objects.values_list("name", flat=True)) == list(UNIVERSITIES)
    assert Employee.objects.count() == COUNT
    assert [float(current_state().percents[name]) / 100 for name in PHASES] == [100, 100, 25, 0]
    assert set(InboxUpdate.objects.filter(state=State.DEAD).values_list("update_type", "reason")) == {
        ("message_callback", "OperationalError")
    }
    assert [alert.kind for alert in Alert.objects.open()] == ["dead_letters"]
    assert Alert.objects.exclude(resolved_at=None).count() == 4
    assert BackfillRun.objects.get().status == RunStatus.DONE
    oldest = InboxUpdate.objects.order_by("received_at")[0].received_at
    assert timedelta(days=13) < timezone.now() - oldest < timedelta(days=15)


@pytest.mark.long
def test_no_time_is_in_the_future(lived: Simulation) -> None:
    now = timezone.now()
    for model, column in (
        (Employee, "created_at"), (InboxUpdate, "received_at"), (Comparison, "at"), (Change, "at"), (GateCheck, "at"),
        (Alert, "fired_at"), (IndicatorReading, "round_at"), (Flag, "moved_at"), (Profile, "last_updated"),
    ):  # fmt: skip
        assert not model._default_manager.filter(**{f"{column}__gt": now}).exists(), model


def test_a_seed_decides_everything() -> None:
    def facts(one: Simulation) -> list[Any]:
        return [
            [(row.phone, row.first_name, row.last_name, str(row.profile_source), row.max_id) for row in one.employees],
            one.created_at,
            [(bytes(row.dedup_key), row.state, row.received_at, row.processing_ms) for row in one.updates],
            [(row.at, row.outcome, row.served_source, row.served_ms) for row in one.comparisons],
            one.profiles,
            one.snapshots,
            one.backfilled,
        ]

    assert facts(simulated(1)) == facts(simulated(1))
    assert all(one != other for one, other in zip(facts(simulated(1))[:4], facts(simulated(2))[:4], strict=True))


def test_it_refuses_a_database_that_is_in_use(lived: Simulation) -> None:
    with pytest.raises(history.NotEmpty, match="an empty database"):
        history.fill(employees=10)
    assert Employee.objects.count() == COUNT


def test_it_refuses_production(db: None, settings: Settings) -> None:
    settings.DEBUG, before = False, University.objects.count()
    with pytest.raises(ImproperlyConfigured, match="DEBUG is off"):
        history.fill(employees=10)
    assert University.objects.count() == before


def test_the_figures_of_the_reports_are_what_sql_recounts(lived: Simulation) -> None:
    coverage, week = reports.coverage(), reports.webhook_stats("month")
    assert coverage["employees_by_source"] == dict(
        rows("SELECT profile_source, count(*) FROM employees GROUP BY profile_source")
    )
    assert [(coverage["total_users"], coverage["users_with_profiles"])] == rows(
        "SELECT count(*), count(p.user_id) FROM employees e FULL JOIN profile_cache p ON p.user_id = e.max_id"
    )
    states = dict(rows("SELECT state, count(*) FROM webhook_inbox GROUP BY state"))
    assert week["total_events"] == sum(states.values())
    assert week["failed_events"] == states["dead"] + states.get("quarantined", 0)
    assert week["duplicate_events"] == rows("SELECT count(*) FROM webhook_repeats")[0][0]
    assert week["profiles_stored"] == rows("SELECT count(*) FROM webhook_inbox WHERE has_changed_profile")[0][0]
    assert week["events_by_type"] == dict(rows("SELECT update_type, count(*) FROM webhook_inbox GROUP BY update_type"))


def test_the_last_readings_of_the_history_equal_the_measured_ones(lived: Simulation) -> None:
    """The simulation counts what it wrote: the worker's first round finds the same values."""
    for name in ("coverage", "full_names", "profile_completeness", "agreement", "conflicts", "comparison_coverage"):
        photo = [row for row in lived.snapshots if row.at == lived.story.now]
        assert len(photo) == 1
        stored = IndicatorReading.objects.get(name=name, round_at=lived.story.now)
        measured = IndicatorReading.objects.filter(name=name).latest("pk")
        assert measured.value == pytest.approx(stored.value, abs=1e-4), name
        assert measured.n == stored.n, name
    sources = IndicatorReading.objects.filter(name="coverage").latest("pk").data["employees_by_source"]
    assert sources == dict(lived.snapshots[-1].sources)


def test_the_home_page_shows_the_recounted_figures(lived: Simulation, client: Client) -> None:
    client.force_login(User.objects.get(username="operator"))
    page = client.get("/admin/", headers={"accept-language": "en"}).content.decode()
    assert f">{Employee.objects.filter(profile_source='webhook').count()}<" in page
    day = timezone.now() - timedelta(days=1)
    assert f">{InboxUpdate.objects.filter(received_at__gt=day).count()}<" in page


def test_the_audit_ends_in_the_settings(lived: Simulation) -> None:
    last = Change.objects.filter(action=Action.ADVANCE).latest("pk")
    percents = {flag.name: rules.format_percent(flag.percent) for flag in Flag.objects.filter(name__in=PHASES)}
    assert last.after["percents"] == percents
    steps = Change.objects.filter(action=Action.ADVANCE).order_by("pk").values_list("before", "after")
    for (_, before), (after, _) in pairwise(steps):
        assert before["percents"] == after["percents"]
    times = list(Change.objects.order_by("pk").values_list("at", flat=True))
    assert times == sorted(times)
    assert not list(Change.objects.filter(by__in=users.LOG_INS).exclude(by__in=["operator", "admin"]))


def test_names_come_from_where_the_rollout_allows(lived: Simulation) -> None:
    denied = University.objects.get(name=UNIVERSITIES[DENIED])
    state = current_state()
    run = BackfillRun.objects.get()
    changed = {row[0] for batch in run.batches.all() for row in batch.changes}
    cached = Employee.objects.filter(profile_source__in=[ProfileSource.WEBHOOK, ProfileSource.USER_INPUT])
    assert cached.exists()
    for employee in cached.exclude(pk__in=changed):
        assert employee.university_id != denied.pk
        assert state.stage_of(employee.phone, employee.university_id)[0] >= 3
    for employee in cached:
        profile = cache.find(employee.max_id or "").profile
        assert profile, employee.pk
    assert not cached.filter(university=denied).exists()
    assert (run.started_by, bool(run.reason)) == ("operator", True)
    assert [entry for entry in entries(kind="backfill") if entry.by == "operator" and entry.reason]


def test_dead_letters_have_their_sender(lived: Simulation) -> None:
    for update in InboxUpdate.objects.filter(state=State.DEAD):
        assert update.user_id == interpret(update).user_id != ""


def test_gates_are_shown_over_the_last_hours(lived: Simulation) -> None:
    evaluation = gates.evaluate(3, Decimal(50))
    values = {result.gate: result.value for result in evaluation.results}
    histories = gate_history.history(evaluation)
    shown = [gate for gate in SHOWN if values[gate] is not None]
    assert {"agreement", "quality", "dwell", "updates_arrive"} <= set(shown)
    for gate in shown:
        trend = histories[gate].trend
        assert trend, gate
        assert sum(len(line.split()) for line in trend.lines) >= 30, gate


def test_a_replay_of_what_was_processed_changes_no_profile(lived: Simulation) -> None:
    """The profiles are what the worker would make of the stored updates."""
    before = list(Profile.objects.order_by("pk").values())
    done = InboxUpdate.objects.filter(state=State.DONE, body__isnull=False)
    count = done.replay(by="tester", reason="check", selection="done").count
    assert count > 50
    assert process_inbox() == count
    assert list(Profile.objects.order_by("pk").values()) == before


def test_the_backfill_can_be_undone(lived: Simulation) -> None:
    run = BackfillRun.objects.get()
    assert run.rows_changed == sum(len(batch.changes) for batch in run.batches.all()) == len(lived.backfilled)
    assert run.rows_seen == sum(batch.rows_seen for batch in run.batches.all()) == run.rows_total
    run.undo()
    while batches.run_batch(run):
        pass
    assert BackfillRun.objects.get().status == RunStatus.UNDONE


def test_the_first_check_neither_closes_nor_opens_an_alert(lived: Simulation) -> None:
    engine.check_alerts()
    assert [alert.kind for alert in Alert.objects.open()] == ["dead_letters"]


@pytest.mark.long
def test_everybody_can_log_in(lived: Simulation, client: Client) -> None:
    for name in users.LOG_INS:
        answer = client.post("/admin/login/?next=/admin/", {"username": name, "password": users.password_of(name)})
        assert answer.status_code == 302, name
        assert client.get("/admin/").status_code == 200, name
        client.logout()


def test_the_service_key_creates_employees(lived: Simulation, client: Client) -> None:
    first, second = users.new_service_key(), users.new_service_key()
    body = {"phone": person(COUNT).phone, "university_id": lived.universities[0]}
    for key, status in ((first, 401), (second, 201)):
        headers = {"authorization": f"Api-Key {key}"}
        answer = client.post("/employees", body, content_type="application/json", headers=headers)
        assert answer.status_code == status
