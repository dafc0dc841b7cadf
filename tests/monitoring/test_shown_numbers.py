"""Figures and previews say what is so: probes are no updates, and no phase claims the effect of another."""

import io
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from employees.models import Employee, University
from monitoring.indicators import probe, rounds
from monitoring.indicators.models import RoundTrip
from monitoring.rollout_control import gates, preview
from monitoring.rollout_control.gates import TransitionStep
from monitoring.rollout_control.guide.checklist import CHECKS
from monitoring.rollout_control.presenters import Condition
from monitoring.stats import comparison_stats, reports
from monitoring.stats.comparison_stats import ComparisonStats
from profiles.comparison import hash_of
from profiles.models import Comparison
from profiles.rollout.decision import bucket, forget_state
from profiles.rollout.models import UniversityRule
from profiles.rollout.phases import PHASES
from tests.conftest import Phases
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from webhooks.models import DuplicateDelivery, InboxUpdate, State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture
def operator(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


@pytest.fixture
def people(phases: Phases, university: University) -> list[Employee]:
    """Twenty employees with a profile, ten of them at a university of its own."""
    phases(100, 100, 0)
    other = University.objects.create(name="Другой")
    add_profile("7")
    return [
        Employee.objects.create(phone=f"+7916{n:07}", max_id="7", university=other if n % 2 else university)
        for n in range(20)
    ]


def received(state: State, request_id: str = "") -> InboxUpdate:
    now = timezone.now()
    return InboxUpdate.objects.create(
        dedup_key=str(InboxUpdate.objects.count()).encode(),
        update_type="bot_started",
        state=state,
        received_at=now,
        next_try_at=now,
        finished_at=None if state == State.PENDING else now,
        request_id=request_id,
    )


def test_probes_are_no_updates() -> None:
    for state in (State.PENDING, State.DONE, State.DEAD):
        received(state)
        row = received(state, probe.synthetic_id())
        DuplicateDelivery.objects.create(dedup_key=row.dedup_key, update_type="other", received_at=timezone.now())
    InboxUpdate.objects.filter(state=State.PENDING).update(state=State.DONE, finished_at=timezone.now())
    for period in ("hour", "week"):
        stats = reports.webhook_stats(period)
        assert (stats["total_events"], stats["failed_events"], stats["duplicate_events"]) == (3, 1, 0)


def test_probes_that_wait_are_no_updates_either() -> None:
    """Whether a clock that was ahead received them or not."""
    for request_id in ("", probe.synthetic_id()):
        for ahead in (timedelta(), timedelta(hours=1)):
            InboxUpdate.objects.filter(pk=received(State.PENDING, request_id).pk).update(
                received_at=timezone.now() + ahead
            )
    stats = reports.webhook_stats("hour")
    assert (stats["total_events"], stats["pending_events"]) == (2, 2)


def test_no_item_unticks_itself_because_traffic_paused(phases: Phases, settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = [b"secret"]
    phases(100, 100, 1)
    RoundTrip.objects.create(took_ms=5.0)
    received(State.DONE)
    compared(5)
    items = ("webhook_endpoint", "webhook_activity", "event_types", "usage", "system_performance")
    readings = rounds.take_round()
    assert {item: CHECKS[item](readings)[0] for item in items} == dict.fromkeys(items, True)
    old = timezone.now() - timedelta(days=2)
    RoundTrip.objects.update(at=old)
    InboxUpdate.objects.update(received_at=old, finished_at=old)
    Comparison.objects.update(at=old)
    readings = rounds.take_round()
    assert {item: CHECKS[item](readings)[0] for item in items} == dict.fromkeys(items, True)


@pytest.mark.parametrize(
    ("wanted", "stayed", "message", "shown"),
    [
        (timedelta(seconds=90), timedelta(seconds=45), "dwell time 45 of 90 s", ("45\u00a0s", "90\u00a0s")),
        (timedelta(minutes=20), timedelta(minutes=5), "dwell time 5 of 20 min", ("5\u00a0min", "20\u00a0min")),
        (timedelta(hours=24), timedelta(minutes=30), "dwell time 0.5 of 24 h", ("30\u00a0min", "24\u00a0h")),
    ],
)
def test_a_short_dwell_time_is_not_zero_hours(
    settings: Settings, wanted: timedelta, stayed: timedelta, message: str, shown: tuple[str, str]
) -> None:
    settings.ROLLOUT_DWELL = wanted
    result = gates.dwell(TransitionStep(3, Decimal(1), Decimal(5), timezone.now() - stayed))
    condition = Condition.of(result)
    assert (condition.message, (condition.number, condition.limit)) == (message, shown)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"agree": 20}, "too few comparisons to recommend a PROFILE_TTL"),
        ({"agree": 700}, "names at most one day old agree"),
        ({"agree": 600, "conflict": 100}, "even the most recent names agree in only 85.7%"),
    ],
)
def test_too_few_is_reported_only_of_too_few(counts: dict[str, int], text: str) -> None:
    assert str(comparison_stats.ttl_advice({1.0: ComparisonStats(counts)})).startswith(text)


def total(phase: int, target: int) -> int:
    forget_state()
    return preview.preview(PHASES[phase - 1], phase, Decimal(target)).total


def test_the_preview_says_what_the_phase_does(people: list[Employee], phases: Phases, operator: Client) -> None:
    phases(100, 0, 0)
    assert total(2, 100) == 0
    text = operator.get("/admin/steer/2/preview/?percent=100").content.decode()
    assert "All names still come from the direct API." in text
    phases(100, 100, 100)
    assert total(4, 100) == 20
    text = operator.get("/admin/steer/4/preview/?percent=1").content.decode()
    assert "Employees who lose the fallback to the direct API" in text
    out = io.StringIO()
    call_command("rollout", "preview", "--phase", "4", "--percent", "100", stdout=out)
    assert "Employees who lose the fallback to the direct API: 20; " in " ".join(out.getvalue().split())
    # Phase 2 takes the deeper phases with it.
    assert total(2, 0) == 20


def test_previews_and_stages_follow_the_rules(people: list[Employee], phases: Phases, operator: Client) -> None:
    allowed, denied = (person.university_id for person in people[:2])
    assert total(3, 100) == 20
    UniversityRule.objects.create(university_id=denied, phase=3, reason="r")
    UniversityRule.objects.create(university_id=allowed, phase=3, is_allowed=True, reason="r")
    assert total(3, 100) == 0
    phases(100, 100, 100)
    # Whoever is let into phase 3 loses the fallback in phase 4 all the same; who is kept out does not.
    assert total(4, 100) == 10
    assert preview.people_served() == 10
    stages = {row["stage"]: row["total"] for row in operator.get("/admin/sources/").context["stages"]}
    assert stages == {2: 10, 3: 10}
    phases()
    assert preview.people_served() == 0


def test_a_comparison_without_a_university_is_left_out(phases: Phases, operator: Client) -> None:
    compared(3, "conflict", university_id=None)
    compared(2)
    assert comparison_stats.stats_of(comparison_stats.counted()).total == 2
    page = operator.get("/admin/comparisons/").content.decode()
    assert "Not counted: 3 comparisons from probes, lookups that only test the system" in page


def test_a_conflict_leads_to_the_employee(people: list[Employee], operator: Client) -> None:
    person = people[3]
    compared(1, "conflict")
    place = bucket("migration", person.phone)
    Comparison.objects.update(key_hash=hash_of(person.phone), bucket=place, university_id=person.university_id)
    row = Comparison.objects.get()
    path = f"/admin/comparisons/{row.pk}/person/"
    assert path in operator.get("/admin/comparisons/").content.decode()
    page = operator.post(path)
    assert page.context["match"].employee == person
    assert "A person was looked up" in operator.get("/admin/audit/").content.decode()
    Employee.objects.all().delete()
    assert "no longer an employee" in operator.post(path, follow=True).content.decode()


def test_a_preview_two_steps_ahead_shows_the_gate_that_refuses_it(people: list[Employee], operator: Client) -> None:
    page = operator.get("/admin/steer/3/preview/?percent=25").content.decode()
    assert "one step at a time: after 0% comes 1%" in page
