"""Watches the rollout: fires what was planned, checks the gates, and pulls the tripwire on three breaches in a row."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.translation import ngettext

from config.lib.messages import Message, to_columns
from monitoring.indicators import probe
from monitoring.indicators.models import RoundTrip
from monitoring.rollout_control import control, gates
from monitoring.rollout_control.gates import CHECKS_IN_A_ROW, TRIPWIRE
from monitoring.rollout_control.gates.results import Judgement
from monitoring.rollout_control.models import MESSAGE_LENGTH, GateCheck, Verdict
from profiles.models import Comparison
from profiles.rollout import changes, rules
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.decision import is_monitored
from profiles.rollout.models import Action, OnBreach, Rollout
from profiles.rollout.rollout_settings import RolloutSettings

CONDUCTOR = "conductor"
KEPT = timedelta(days=30)

logger = logging.getLogger(__name__)


def conduct() -> list[str]:
    """Do what is due; return what happened, one line each."""
    count = control.fire_due()
    lines = [ngettext("%(n)d planned step", "%(n)d planned steps", count) % {"n": count}]
    last = GateCheck.objects.filter(gate=TRIPWIRE).first()
    # A look in the future was taken by a clock that has been put right since.
    if is_monitored() and (last is None or abs(timezone.now() - last.at) >= settings.MONITORING_CHECK_INTERVAL):
        lines += look()
    return lines


def look() -> list[str]:
    """Check the next step's gates and the tripwires once, and store what they found."""
    deepest = _deepest()
    if deepest is None or deepest < 3:
        probe.round_trip()
    name = changes.turn()
    current = gates.transition_step(rules.phase_number(name), rules.percentage(100)).current
    step = rules.step_after(name, current)
    lines = []
    if step is not None:
        judgement = gates.check(rules.phase_number(name), step)
        may_go_on = Message("Phase %(phase)d may go on", {"phase": judgement.step.phase})
        lines.append(str(judgement.held() if judgement.failing else may_go_on))
    lines += _watch(deepest)
    for model in (GateCheck, RoundTrip, Comparison):
        model.objects.filter(at__lt=timezone.now() - KEPT).delete()
    return lines


def _deepest() -> int | None:
    outcome = RolloutSettings.read(Rollout.current())
    return max((rules.phase_number(name) for name, percent in outcome.percents.items() if percent), default=None)


def _watch(deepest: int | None) -> list[str]:
    """Ask what has to stay true in the deepest phase; hold or go back after three breaches in a row."""
    if deepest is None or deepest not in gates.STAYING:
        GateCheck.objects.create(phase=0, gate=TRIPWIRE, verdict=Verdict.PASS, message="")
        return []
    watched = gates.watch(deepest)
    judgement = replace(watched, findings=[found for found in watched.findings if found.verdict == Verdict.FAIL])
    verdict, held = (Verdict.FAIL, judgement.held()) if judgement.failing else (Verdict.PASS, "")
    message, sentence = to_columns(held, MESSAGE_LENGTH)
    GateCheck.objects.create(phase=deepest, gate=TRIPWIRE, verdict=verdict, message=message, sentence=sentence)
    latest = GateCheck.objects.filter(gate=TRIPWIRE).values_list("phase", "verdict")[:CHECKS_IN_A_ROW]
    if list(latest) != [(deepest, Verdict.FAIL)] * CHECKS_IN_A_ROW:
        return [str(held)] if held else []
    return [_pull(deepest, judgement)]


def _pull(phase: int, judgement: Judgement) -> str:
    held = judgement.held()
    rollout = Rollout.current()
    if rollout.is_paused:
        return str(held)
    action = Action.ROLL_BACK if rollout.on_breach == OnBreach.ROLL_BACK and phase >= 3 else Action.PAUSE
    found = {"phase": phase, "evidence": judgement.as_json()}
    changes.apply(ChangeRequest.of(action, Source.CONTROLLER, by=CONDUCTOR, reason=held, **found))
    logger.error("rollout held", extra={"component": "rollout", "event": "tripwire", "phase": phase})
    return str(held)
