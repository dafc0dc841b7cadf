"""The gates about the rollout's own progress: the time at a percentage, the phase before, the rehearsal, the alerts."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from config.lib.messages import Message, listed
from monitoring.alerts import freshness
from monitoring.alerts.models import Alert
from monitoring.rollout_control.gates.results import GateResult, TransitionStep
from monitoring.rollout_control.models import Verdict
from profiles.rollout.models import Change, Flag
from profiles.rollout.phases import PHASES

REHEARSAL_LASTS = timedelta(days=30)


def dwell(step: TransitionStep) -> GateResult:
    stayed, wanted = timezone.now() - step.since, settings.ROLLOUT_DWELL
    verdict, sentence = Verdict.PASS, Message("dwell time over")
    if stayed < wanted:
        words = {"stayed": _hours(stayed), "wanted": _hours(wanted)}
        verdict, sentence = Verdict.INCONCLUSIVE, Message("dwell time %(stayed)s of %(wanted)s h", words)
    seconds, limit = stayed.total_seconds(), wanted.total_seconds()
    return GateResult("dwell", verdict, sentence, seconds, limit=limit, comparison="≥", unit="h")


def phase3_complete(step: TransitionStep) -> GateResult:
    flag = Flag.objects.filter(name=PHASES[2]).first()
    if flag is None or flag.percent < 100:
        reached = {"percent": f"{flag.percent.normalize():f}" if flag else "0"}
        why = Message("phase 3 is at %(percent)s %%, not at 100 %%", reached)
        return GateResult("phase3_complete", Verdict.FAIL, why)
    stayed = timezone.now() - flag.moved_at
    words = {"stayed": _hours(stayed), "wanted": _hours(settings.ROLLOUT_DWELL)}
    if stayed < settings.ROLLOUT_DWELL:
        why = Message("phase 3 is at 100 %% for %(stayed)s of %(wanted)s h", words)
        return GateResult("phase3_complete", Verdict.INCONCLUSIVE, why)
    return GateResult("phase3_complete", Verdict.PASS, Message("phase 3 is at 100 %% for %(stayed)s h", words))


def rehearsed(step: TransitionStep) -> GateResult:
    last = Change.objects.filter(action="rehearsal", at__gt=timezone.now() - REHEARSAL_LASTS).first()
    if last is None:
        why = Message("the way back was not rehearsed: rollback emergency --rehearse --university N --reason …")
        return GateResult("rehearsed", Verdict.INCONCLUSIVE, why)
    days = (timezone.now() - last.at).days
    good = Message("days since the way back was rehearsed: %(days)d", {"days": days})
    return GateResult("rehearsed", Verdict.PASS, good, days, limit=REHEARSAL_LASTS.days, comparison="≤", unit="d")


def no_alert(step: TransitionStep) -> GateResult:
    """Find no open alert, but for those that somebody muted; without a check lately nobody knows."""
    if not freshness.is_fresh():
        why = Message("alerts were not checked lately: is the worker running? See manage.py check_alerts")
        return GateResult("no_alert", Verdict.INCONCLUSIVE, why)
    holding = list(Alert.objects.holding().order_by("pk"))
    sentence = listed(alert.sentence for alert in holding) if holding else Message("no open alert")
    verdict = Verdict.FAIL if holding else Verdict.PASS
    return GateResult("no_alert", verdict, sentence, len(holding), limit=0, comparison="≤")


def _hours(length: timedelta) -> str:
    return f"{length / timedelta(hours=1):.1f}".removesuffix(".0")
