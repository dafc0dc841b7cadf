"""The gates about the rollout's progress: dwell time, completion of phase 3, rollback rehearsal, open alerts."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from config.lib.messages import Message, join_messages
from monitoring.alerts import engine
from monitoring.alerts.models import Alert
from monitoring.rollout_control.gates.results import GateResult, TransitionStep
from monitoring.rollout_control.models import Verdict
from profiles.rollout.models import Change, Flag
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import format_percent

REHEARSAL_LASTS = timedelta(days=30)


def dwell(step: TransitionStep) -> GateResult:
    stayed, wanted = timezone.now() - step.since, settings.ROLLOUT_DWELL
    verdict, message = Verdict.PASS, Message("dwell time over")
    if stayed < wanted:
        params = {"stayed": _hours(stayed), "wanted": _hours(wanted)}
        verdict, message = Verdict.INCONCLUSIVE, Message("dwell time %(stayed)s of %(wanted)s h", params)
    seconds, limit = stayed.total_seconds(), wanted.total_seconds()
    return GateResult("dwell", verdict, message, seconds, limit=limit, comparison="≥", unit="h")


def phase3_complete(step: TransitionStep) -> GateResult:
    flag = Flag.objects.filter(name=PHASES[2]).first()
    if flag is None or flag.percent < 100:
        params = {"percent": format_percent(flag.percent) if flag else "0"}
        message = Message("phase 3 is at %(percent)s%%, not at 100%%", params)
        return GateResult("phase3_complete", Verdict.FAIL, message)
    stayed = timezone.now() - flag.moved_at
    params = {"stayed": _hours(stayed), "wanted": _hours(settings.ROLLOUT_DWELL)}
    if stayed < settings.ROLLOUT_DWELL:
        message = Message("phase 3 has been at 100%% for %(stayed)s of %(wanted)s h", params)
        return GateResult("phase3_complete", Verdict.INCONCLUSIVE, message)
    return GateResult("phase3_complete", Verdict.PASS, Message("phase 3 has been at 100%% for %(stayed)s h", params))


def rehearsed(step: TransitionStep) -> GateResult:
    last = Change.objects.filter(action="rehearsal", at__gt=timezone.now() - REHEARSAL_LASTS).first()
    if last is None:
        message = Message("rollback not rehearsed: run “rollback emergency --rehearse --university N --reason …”")
        return GateResult("rehearsed", Verdict.INCONCLUSIVE, message)
    days = (timezone.now() - last.at).days
    message = Message("rollback rehearsed today")
    if days:
        message = Message("rollback rehearsed %(days)d d ago", {"days": days})
    return GateResult("rehearsed", Verdict.PASS, message, days, limit=REHEARSAL_LASTS.days, comparison="≤", unit="d")


def no_alert(step: TransitionStep) -> GateResult:
    """Fail while an unmuted alert is open; without a recent check of the alerts the result is INCONCLUSIVE."""
    if not engine.has_checked_lately():
        message = Message("alerts were not checked recently: is the worker running? See manage.py check_alerts")
        return GateResult("no_alert", Verdict.INCONCLUSIVE, message)
    holding = list(Alert.objects.holding().order_by("pk"))
    message = join_messages(alert.sentence for alert in holding) if holding else Message("no open alert")
    verdict = Verdict.FAIL if holding else Verdict.PASS
    return GateResult("no_alert", verdict, message, len(holding), limit=0, comparison="≤")


def _hours(length: timedelta) -> str:
    return f"{length / timedelta(hours=1):.1f}".removesuffix(".0")
