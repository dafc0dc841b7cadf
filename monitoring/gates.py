"""Run the gates of the rollout: what must hold before a phase is entered or widened (docs/reference/rollout.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import DatabaseError, transaction
from django.utils import timezone

from monitoring import findings, transition
from monitoring.findings import Finding, Step
from monitoring.gate_titles import title
from monitoring.models import MESSAGE_LENGTH, GateCheck, Verdict
from profiles import failures
from profiles.cache import CacheError
from profiles.rollout.decision import is_monitored
from profiles.rollout.models import Flag
from profiles.rollout.rules import phase_name, shown
from profiles.rollout.sentences import Sentence, to_columns

TRIPWIRE = "tripwire"
CHECKS_IN_A_ROW = 3
# Looking twice at the same numbers is one check.
CHECK_SPACING = timedelta(minutes=1)
CHECKS_WITHIN = timedelta(days=1)

Gate = Callable[[Step], Finding]

_COLLECTING = (findings.updates_arrive, findings.few_evictions)
_COMPARED = (transition.agreement, transition.conflicts, transition.universities, transition.quality)

ENTERING: dict[int, tuple[Gate, ...]] = {
    1: (findings.migrated, findings.index_valid, findings.redis_answers, findings.secret_set, findings.monitoring_on),
    2: (findings.round_trip, findings.inbox_lag, findings.webhook_errors),
    3: (*_COLLECTING, *_COMPARED, transition.rehearsed),
    4: (transition.phase3_complete, transition.no_alert),
}
WIDENING: dict[int, tuple[Gate, ...]] = {
    3: (transition.cohort_agreement, transition.cohort_errors, transition.cohort_speed, transition.dwell),
    4: (transition.dwell,),
}
# What the conductor watches while a phase is on.
STAYING: dict[int, tuple[Gate, ...]] = {
    2: _COLLECTING,
    3: (transition.no_evidence_against, transition.cohort_errors, transition.cohort_speed),
    4: (transition.no_alert,),
}
_IN_A_ROW = {"agreement", "conflicts"}


@dataclass(frozen=True, slots=True)
class Judgement:
    step: Step
    findings: list[Finding]

    @property
    def failing(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict != Verdict.PASS]

    def held(self) -> Sentence:
        """Return why the phase is held, as an operator reads it; one line."""
        words = {"phase": self.step.phase, "percent": shown(self.step.current)}
        reasons = [finding.sentence for finding in self.failing]
        return Sentence("Held phase %(phase)d at %(percent)s %%: %(reasons)s", {**words, "reasons": reasons})

    def as_json(self) -> list[dict[str, Any]]:
        return [finding.as_json() for finding in self.findings]


def step_of(phase: int, target: Decimal) -> Step:
    flag = Flag.objects.filter(name=phase_name(phase)).first()
    return Step(phase, flag.percent if flag else Decimal(0), target, flag.moved_at if flag else timezone.now())


def judge(phase: int, target: Decimal) -> Judgement:
    """Ask every gate of a step; nothing is written."""
    step = step_of(phase, target)
    gates = ENTERING[phase] + (WIDENING.get(phase, ()) if step.current else ())
    found = [ask(gate, step) for gate in gates]
    return Judgement(step, [_in_a_row(step, finding) for finding in found])


def check(phase: int, target: Decimal) -> Judgement:
    """Ask every gate and keep what each said: checks in a row are counted by these rows."""
    # The moment before they look: a step taken while they do is none that they judged.
    at = timezone.now()
    judgement = judge(phase, target)
    GateCheck.objects.bulk_create(_kept(finding, at=at, phase=phase) for finding in judgement.findings)
    return judgement


def _kept(finding: Finding, *, at: datetime, phase: int) -> GateCheck:
    message, sentence = to_columns(finding.sentence, MESSAGE_LENGTH)
    return GateCheck(
        at=at,
        phase=phase,
        gate=finding.gate,
        verdict=finding.raw or finding.verdict,
        message=message,
        sentence=sentence,
        value=finding.value,
    )


def ask(gate: Gate, step: Step) -> Finding:
    """Return what the gate finds; one that cannot look is an error, and without monitoring nobody looks."""
    name = gate.__name__
    if not is_monitored():
        return Finding(name, Verdict.INCONCLUSIVE, Sentence("monitoring is off"))
    try:
        with transaction.atomic():
            return gate(step)
    except (DatabaseError, CacheError) as error:
        what = str(error) if isinstance(error, CacheError) else type(error).__name__
        why = Sentence("%(gate)s could not look: %(error)s", {"gate": title(name), "error": failures.told(what)})
        return Finding(name, Verdict.ERROR, why)


def passes_before(phase: int, gate: str, wanted: int) -> int:
    """Return how many of the latest checks passed in a row, as far as ``wanted``."""
    count, last = 0, timezone.now()
    rows = GateCheck.objects.filter(phase=phase, gate=gate, at__gt=last - CHECKS_WITHIN).values_list("at", "verdict")
    for at, verdict in rows.iterator():
        if count >= wanted or verdict != Verdict.PASS:
            break
        if last - at >= CHECK_SPACING:
            count, last = count + 1, at
    return count


def _in_a_row(step: Step, finding: Finding) -> Finding:
    """Let a statistical gate pass only with the checks before: whoever looks often enough sees one good moment."""
    if finding.gate not in _IN_A_ROW or finding.verdict != Verdict.PASS:
        return finding
    passed = 1 + passes_before(step.phase, finding.gate, CHECKS_IN_A_ROW - 1)
    if passed >= CHECKS_IN_A_ROW:
        return finding
    words = {"message": finding.sentence, "passed": passed, "wanted": CHECKS_IN_A_ROW}
    sentence = Sentence("%(message)s, in %(passed)d of %(wanted)d checks in a row", words)
    return Finding(finding.gate, Verdict.INCONCLUSIVE, sentence, finding.value, raw=Verdict.PASS)
