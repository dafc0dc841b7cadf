"""The rollout controller: takes planned steps, checks the gates, and pauses or rolls back after three breaches."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import OperationalError, ProgrammingError, transaction
from django.db.models import Q, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import ngettext

from config.lib import clock
from config.lib.messages import Message, to_columns
from config.postgres.base import CommitNotConfirmed, without_standby
from config.postgres.locks import commit_here
from employees.models import BackfillRun
from monitoring.indicators import probe
from monitoring.indicators.models import RoundTrip
from monitoring.rollout_control import approvals, gates
from monitoring.rollout_control.approvals import refuse_former
from monitoring.rollout_control.gates import CHECKS_IN_A_ROW, TRIPWIRE
from monitoring.rollout_control.models import MESSAGE_LENGTH, GateCheck, Verdict
from profiles.models import Comparison
from profiles.rollout import changes, plans, rules
from profiles.rollout.approvals import ApprovalNeeded
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.changes import GatesNotPassed
from profiles.rollout.decision import is_monitored
from profiles.rollout.lock import Busy, transaction_with_lock_timeout
from profiles.rollout.models import Action, OnBreach, Plan, PlanState, Rollout
from profiles.rollout.monitored_period import monitored_since
from profiles.rollout.rollout_settings import RolloutSettings
from profiles.rollout.rules import ChangeRefused

# The name that earlier releases recorded for the controller in the audit log.
CONTROLLER = "conductor"
RETENTION = timedelta(days=30)
_BACKFILL_PATIENCE_MS = 500

logger = logging.getLogger(__name__)


def run() -> list[str]:
    """Take the planned steps that are due, check the gates once per interval, and return the lines to print."""
    approvals.expire()
    count = fire_due()
    lines = [ngettext("%(n)d planned step", "%(n)d planned steps", count) % {"n": count}]
    # Order by ID: after the clock was set back, the latest check may not have the latest time.
    last = GateCheck.objects.filter(gate=TRIPWIRE).order_by("-pk").first()
    if is_monitored() and (last is None or clock.distance(last.at) >= settings.MONITORING_CHECK_INTERVAL):
        lines += check()
        fire_due(waits_for_gates=True)
    return lines


def check() -> list[str]:
    """Check the gates of the next step and the tripwires once, and store the results; return the lines to print."""
    # While a standby is lost, a breach still pauses the rollout.
    with without_standby():
        lines = check_next_step() + _check_tripwires(_deepest(RolloutSettings.read(Rollout.current()).percents))
        for model in (GateCheck, RoundTrip, Comparison):
            model.objects.filter(clock.is_older("at", RETENTION)).delete()
    return lines


def check_next_step() -> list[str]:
    """Check the next step's gates once, store the results, and return the lines to print; [] if no step is left."""
    percents = RolloutSettings.read(Rollout.current()).percents
    if _deepest(percents) < 3:
        probe.round_trip()
    name = changes.next_phase()
    phase, step = rules.phase_number(name), rules.step_after(name, percents[name])
    if step is None:
        return []
    evaluation = gates.check(phase, step)
    passed = Message("All gates pass: phase %(phase)d can take its next step", {"phase": phase})
    return [str(evaluation.hold_message() if evaluation.failing else passed)]


def _deepest(percents: Mapping[str, Decimal]) -> int:
    """Return the number of the last phase with a percentage above 0; 0 if there is none."""
    return max((rules.phase_number(name) for name, percent in percents.items() if percent), default=0)


def _check_tripwires(phase: int) -> list[str]:
    """Check the last active phase's tripwires and store the result; pause or roll back at three failures in a row."""
    # Read the time and the rollout first: breaches that are found during a resume must count as from before the resume.
    at, rollout = timezone.now(), Rollout.current()
    row = {"at": at, "gate": TRIPWIRE}
    if phase not in gates.STAYING:
        GateCheck.objects.create(phase=0, verdict=Verdict.PASS, message="", **row)
        return []
    if rollout.is_paused:
        message, sentence = to_columns(Message("not checked while the rollout is paused"), MESSAGE_LENGTH)
        GateCheck.objects.create(phase=phase, verdict=Verdict.INCONCLUSIVE, message=message, sentence=sentence, **row)
        return []
    tripwires = gates.check_tripwires(phase)
    breaches = replace(tripwires, results=[r for r in tripwires.results if r.verdict == Verdict.FAIL])
    verdict, reason = (Verdict.FAIL, breaches.hold_message()) if breaches.failing else (Verdict.PASS, "")
    message, sentence = to_columns(reason, MESSAGE_LENGTH)
    GateCheck.objects.create(phase=phase, verdict=verdict, message=message, sentence=sentence, **row)
    # Checks in the future are from before a clock was set back, and may be from before the resume.
    checks = GateCheck.objects.filter(gate=TRIPWIRE, at__gt=monitored_since(), at__lte=at)
    latest = checks.order_by("-pk").values_list("phase", "verdict")[:CHECKS_IN_A_ROW]
    if list(latest) == [(phase, Verdict.FAIL)] * CHECKS_IN_A_ROW:
        action = Action.ROLL_BACK if rollout.on_breach == OnBreach.ROLL_BACK and phase >= 3 else Action.PAUSE
        facts: dict[str, Any] = {"phase": phase, "evidence": breaches.as_json(), "expected_revision": rollout.revision}
        # If another change came first, the next check decides again.
        with suppress(ChangeRefused):
            changes.apply(ChangeRequest.of(action, Source.CONTROLLER, by=CONTROLLER, reason=reason, **facts))
            logger.error("rollout held", extra={"component": "rollout", "event": "tripwire", "phase": phase})
    return [str(reason)] if reason else []


def fire_due(*, waits_for_gates: bool = False) -> int:
    """Take the planned steps that are due, and end outdated plans; return the number of steps handled.

    Each step is taken once, even if two controllers are running. A plan is outdated if anything else has changed the
    rollout. With ``waits_for_gates``, take only the steps that wait for their gates; otherwise, take only the other
    steps. Set ``waits_for_gates`` only after a check of the gates, because gate results change only then.
    """
    count = 0
    is_due = Q(state=PlanState.PLANNED, due_at__lte=timezone.now(), waits_for_gates=waits_for_gates)
    revision = Rollout.objects.values("revision")[:1]
    # Only a plan's next step has a revision to compare; a later step gets one when the step before it has been taken.
    is_void = Q(state__in=(PlanState.PLANNED, PlanState.WAITING)) & ~Q(revision=Coalesce(Subquery(revision), 0))
    steps = Plan.objects.filter(is_due | is_void)
    for pk in steps.values_list("pk", flat=True):
        try:
            with transaction.atomic():
                commit_here()
                # Select the step again under the lock: another controller may have taken it first.
                for plan in steps.select_for_update(skip_locked=True, of=("self",)).filter(pk=pk):
                    fire(plan)
                    count += 1
        except CommitNotConfirmed:
            logger.warning("step taken", extra={"component": "rollout", "event": "step_not_confirmed", "plan": pk})
    return count


def fire(plan: Plan) -> str:
    """Take a planned step; return the outcome as a string.

    The plan ends if anything else has changed the rollout since the plan was made, or if the step is refused. A step
    that needs approval waits for the approval. A step stays planned outside the plan's hours and while another change
    is in progress. A step that waits for its gates also stays planned while the gates do not pass.
    """
    revision = Rollout.current().revision
    if plan.revision != revision:
        revisions = {"then": plan.revision, "now": revision}
        message = "Cancelled: the rollout has changed since the step was planned (revision %(then)d, now %(now)d)"
        plan.stop(Message(message, revisions))
        return plan.text
    try:
        if not plan.is_within_hours(timezone.now()) or plan.state == PlanState.WAITING:
            return plan.text
        request = plans.request_of(plan)
        refuse_former(request)
        plans.finish(plan, changes.apply(request).revision)
    except ApprovalNeeded as needed:
        plan.conclude(PlanState.WAITING, needed.text)
    except Busy as busy:
        # The step is still valid: it stays planned, and the next run takes it.
        plan.conclude(PlanState.PLANNED, busy.text)
    except ChangeRefused as refused:
        if isinstance(refused, GatesNotPassed) and plan.waits_for_gates:
            plan.conclude(PlanState.PLANNED, refused.text)
        else:
            plan.stop(refused.text)
    return plan.text


def pause_backfill(request: ChangeRequest, **_: Any) -> None:
    """Pause the running backfill, if any, because of an emergency stop; the reason comes from ``request``."""
    # Do not wait long for a batch that has locked the run's row: it is the last one, because the next batch would see
    # the latch. After a schema rollback the table may be missing, and there is nothing to pause.
    with suppress(OperationalError, ProgrammingError), transaction_with_lock_timeout(_BACKFILL_PATIENCE_MS):
        BackfillRun.objects.pause(str(request.reason))
