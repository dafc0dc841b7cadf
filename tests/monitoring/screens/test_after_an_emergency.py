"""After an emergency stop, no page or alert describes the percentages from before it, or a step that is not next."""

import io
import re

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import translation

from monitoring.alerts import engine
from monitoring.alerts.kinds import Kind
from monitoring.alerts.models import Alert
from monitoring.alerts.runbook import STEPS
from monitoring.indicators import rounds
from monitoring.indicators.definitions import INDICATORS
from monitoring.indicators.models import Level
from tests.conftest import Phases, client_of
from tests.rollout.changing import change

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.mark.long
def test_what_was_held_before_is_no_longer_shown(operator: Client, phases: Phases) -> None:
    phases(100, 100, 25)
    change("pause", reason="Phase 3 is held at 25%")
    engine.check_alerts()
    assert "held at 25%" in Alert.objects.get(kind="rollout_held").text
    change("emergency")
    rounds.take_round()
    engine.check_alerts()
    assert "emergency stop" in Alert.objects.get(kind="rollout_held").text
    out = io.StringIO()
    call_command("rollout", "status", stdout=out)
    for shown in (operator.get("/admin/").content.decode(), out.getvalue()):
        assert "held at 25%" not in shown


def test_a_stop_without_a_pause_fires_the_alert(phases: Phases) -> None:
    phases(100, 100, 25)
    change("emergency")
    reading = rounds.take_round()["rollout_held"]
    assert (reading.value, reading.level) == (1, Level.WARNING)
    engine.check_alerts()
    assert "the emergency stop is on" in Alert.objects.get(kind="rollout_held").text


@pytest.mark.long
@pytest.mark.parametrize(
    ("language", "label", "stop", "pause"),
    [
        ("en", "rollout held", "Emergency stop: all names come from the direct API", "Pause: the percentages stay"),
        ("ru", "переход приостановлен или остановлен", "Аварийная остановка: все имена", "Пауза: проценты фаз не"),
    ],
)
@pytest.mark.parametrize("action", ["pause", "emergency"])
def test_the_alert_page_describes_a_stop_and_a_pause(
    operator: Client, phases: Phases, action: str, language: str, label: str, stop: str, pause: str
) -> None:
    """The alert is of both: no step or title may apply to one only without its name."""
    phases(100, 100, 25)
    change(action)
    rounds.take_round()
    engine.check_alerts()
    alert = Alert.objects.get(kind="rollout_held")
    operator.cookies["django_language"] = language
    page = operator.get(f"/admin/monitoring/alert/{alert.pk}/change/").content.decode()
    for text in (label, stop, pause):
        assert text in page, text
    with translation.override(language):
        unconditional = [str(step) for step in STEPS[Kind.ROLLOUT_HELD] if not str(step).startswith((stop, pause))]
        assert not re.search(r"stay as they are|не меняются|системой", f"{Kind.ROLLOUT_HELD.label} {unconditional}")


@pytest.mark.long
@pytest.mark.parametrize("path", ["/admin/", "/admin/rollout/"])
def test_no_phase_has_a_next_step(operator: Client, phases: Phases, path: str) -> None:
    phases(100, 100, 25)
    change("emergency")
    page = operator.get(path).content.decode()
    assert "once the rollout is resumed" not in page
    assert "Waiting to go to" not in page
    assert "Next step" not in page


def test_a_decision_on_an_unknown_request_is_not_found(superadmin: User) -> None:
    for verdict in ("approve", "refuse"):
        answer = client_of(superadmin).post(
            f"/monitoring/rollout/approvals/987654/{verdict}", {"reason": "r"}, format="json"
        )
        assert answer.status_code == 404


def test_a_yes_or_no_is_not_shown_as_a_number() -> None:
    """The sentence of a healthy indicator without a number has no number."""
    assert not [one.name for one in INDICATORS.values() if one.unit == "bool" and "%(value)s" in one.good]
