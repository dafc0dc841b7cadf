"""An incident from the first breach to 100%: held, looked into, stopped, fixed, resumed, and it stays resumed."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from employees.models import Employee, University
from monitoring.alerts import engine
from monitoring.dashboard.actions import confirmation
from monitoring.rollout_control import controller
from profiles.models import ProfileSource
from profiles.rollout import changes
from profiles.rollout.models import Change, Flag, Rollout
from profiles.rollout.phases import PHASES
from tests.conftest import Phases
from tests.monitoring.alert_causes import Clock
from tests.monitoring.comparison_rows import compared
from tests.profiles.people import add_profile
from tests.rollout.changing import change, request
from webhooks.models import InboxUpdate, State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
INTERVAL = timedelta(minutes=5)


@pytest.fixture
def operator(client: Client, superadmin: User) -> Client:
    client.force_login(superadmin)
    client.cookies["django_language"] = "en"
    return client


def arrive() -> None:
    at = timezone.now()
    InboxUpdate.objects.create(
        dedup_key=str(InboxUpdate.objects.count()).encode(),
        update_type="bot_started",
        state=State.DONE,
        received_at=at,
        next_try_at=at,
        finished_at=at,
    )


def percent(phase: int) -> int:
    return int(Flag.objects.get(name=PHASES[phase - 1]).percent)


def check(clock: Clock, times: int = 1, spoil: Callable[[], object] = lambda: None) -> None:
    for _ in range(times):
        clock.shift(INTERVAL)
        arrive()
        spoil()
        engine.check_alerts()
        controller.run()


def links(page: str) -> dict[str, str]:
    return {key: url.replace("&amp;", "&") for key, url in re.findall(r'id="held-(\w+)" href="([^"]*)"', page)}


@pytest.fixture
def _at_25_percent(clock: Clock, phases: Phases, settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = [b"secret"]
    phases(100, 100, 5)
    add_profile("7")
    change("rehearsal", facts={"university": 1, "out_s": 1, "total_s": 2})
    clock.shift(timedelta(days=1))
    change("set", phase=3, percent=25)
    compared(700, ago=timedelta(hours=3))
    compared(40, stage=3, served_source="webhook", served_ms=5.0, ago=timedelta(seconds=-1))


def climb(clock: Clock, phase: int, to: int) -> None:
    """Advance from step to step, without force, by what the gates ask for."""
    while percent(phase) < to:
        before = percent(phase)
        clock.shift(timedelta(days=1))
        compared(700)
        compared(40, stage=3, served_source="webhook", served_ms=5.0)
        check(clock, times=2)
        clock.shift(INTERVAL)
        assert changes.apply(request("advance", phase=phase)).after.percents[PHASES[phase - 1]] > before
        assert not Change.objects.latest("pk").is_forced


@pytest.mark.integration
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_at_25_percent")
def test_it_works(operator: Client, clock: Clock, university: University) -> None:
    for number in range(20):
        source = ProfileSource.WEBHOOK if number < 3 else ProfileSource.API
        Employee.objects.create(phone=f"+7916{number:07}", university=university, profile_source=source)
    check(clock)
    assert not Rollout.current().is_paused
    # The cache begins to disagree: held within three checks.
    check(clock, times=3, spoil=lambda: compared(100, "conflict", stage=3))
    assert Rollout.current().is_paused
    breaches = Change.objects.filter(action="pause").count()

    # The banner counts who is still served, and each of its actions works.
    page = operator.get("/admin/rollout/").content.decode()
    assert re.search(r"\d+ employees? still gets? names from the cache\.", page)
    actions = links(page)
    assert set(actions) == {"back", "conflicts", "named", "resume"}
    assert "Back to 5%…" in page
    assert "Show the conflicts: 300" in page
    conflicts = operator.get(actions["conflicts"])
    assert conflicts.context["stats"].conflicts == 300
    assert operator.get(actions["named"]).context["cl"].result_count == 3
    # While paused, a step's page still shows the preview and the gates, and says why it is refused.
    preview = operator.get("/admin/steer/3/preview/?percent=50").content.decode()
    for text in ("The rollout is paused", "Employees who move to the cache", "Agreement", "Resume…"):
        assert text in preview
    back = operator.get(actions["back"])
    form = {"percent": back.context["percent"], "reason": "fewer", "revision": back.context["rollout"].revision}
    assert operator.post("/admin/steer/3/", form).status_code == 302
    assert percent(3) == 5
    assert Rollout.current().is_paused

    stopped = operator.post("/admin/emergency/", {"word": confirmation(), "reason": "wrong names"})
    assert "Show who got a name from the cache after the last step" in stopped.content.decode()
    assert operator.get(stopped.context["named"]).context["cl"].result_count == 3
    assert "0 employees still get names" in operator.get("/admin/rollout/").content.decode()

    # The cause is fixed; the rollout is resumed, and stays resumed.
    clock.shift(timedelta(minutes=1))
    resumed = operator.post("/admin/steer/resume/", {"reason": "fixed"}, follow=True).content.decode()
    assert "no longer count" in resumed
    clock.shift(timedelta(minutes=1))
    check(clock, times=6, spoil=lambda: compared(50, stage=3, served_source="webhook", served_ms=5.0))
    assert not Rollout.current().is_paused
    assert percent(3) == 1
    climb(clock, 3, 100)
    climb(clock, 4, 100)
    assert (percent(3), percent(4)) == (100, 100)
    check(clock, times=3)
    assert not Rollout.current().is_paused
    assert Change.objects.filter(action="pause").count() == breaches
    assert not Change.objects.filter(is_forced=True).exists()


@pytest.mark.usefixtures("_at_25_percent")
def test_a_new_breach_after_the_resume_holds_again(clock: Clock) -> None:
    def spoil() -> None:
        compared(100, "conflict", stage=3)

    check(clock, times=3, spoil=spoil)
    change("resume")
    check(clock, times=2, spoil=spoil)
    assert not Rollout.current().is_paused
    check(clock, spoil=spoil)
    assert Rollout.current().is_paused
