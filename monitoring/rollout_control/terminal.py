"""Tables and lines of the rollout's commands, for a terminal or a file; the texts come from the presenters."""

import io
import math
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import TextChoices
from django.utils.formats import number_format
from django.utils.translation import ngettext
from rich.table import Table
from rich.text import Text

from config.lib import clock, terminal, times
from config.lib.messages import shown_number, shown_percent
from monitoring.indicators import rounds
from monitoring.indicators.models import Round
from monitoring.rollout_control import gates
from monitoring.rollout_control.guide.checklist import checklist_status
from monitoring.rollout_control.labels import GATES
from monitoring.rollout_control.presenters import Phase, conditions, forced_past, phases, timelines
from monitoring.rollout_control.preview import Preview
from monitoring.stats import comparison_stats
from monitoring.stats.comparison_stats import ComparisonStats
from profiles.models.comparison import ComparisonOutcome, Pattern
from profiles.name_rule import CACHE_FIRST
from profiles.phones import masked
from profiles.rollout import changes, presenters, rules
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Approval, Change, ChangeRecord, Rollout
from profiles.rollout.phases import EMERGENCY_STOP
from profiles.rollout.presenters import audit_rows, percentage
from profiles.rollout.presenters.effects import effect
from profiles.rollout.rollout_settings import ChangeResult, RolloutSettings
from profiles.rollout.rules import ChangeRefused

# The commands that make a gate pass; pages link the form instead.
_HINTS = {
    "rehearsed": "run “rollback emergency --rehearse --university N --reason …”",
    "round_trip": "run “rollout gates --probe”",
    "no_alert": "see “alerts”",
}
_COLOURS = {"good": "green", "bad": "red", "wait": "yellow"}


def rendered(parts: Iterable[Any], *, has_colour: bool, width: int = 110) -> str:
    """Return tables and lines as text: with colours, at the terminal's width; without colours, ``width`` columns wide.

    Strings are not parsed as rich's markup, in which “[/x]” in a reason or a name would be an error.
    """
    width = max(shutil.get_terminal_size((width, 24)).columns, 80) if has_colour else width
    console = terminal.console(io.StringIO(), width=width, force_terminal=has_colour)
    for part in parts:
        console.print(part)
    return console.file.getvalue().rstrip("\n")  # type: ignore[attr-defined,no-any-return]


def table(*columns: str, title: str | None = None) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left", title_style="bold")
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return made


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Return titles and texts as two columns; long texts wrap within the second column."""
    made = Table.grid(padding=(0, 2, 0, 0))
    for title, text in rows:
        made.add_row(title, text)
    return made


def status() -> Iterable[Any]:
    rollout = Rollout.current()
    settings, readings = RolloutSettings.read(rollout), rounds.latest()
    rows = table("PHASE", ">PERCENT", "STATUS", ">SINCE", "NEXT STEP")
    for phase in phases(settings, readings):
        since = presenters.duration(clock.age(phase.since)) if phase.since else "—"
        step = "" if settings.is_latched else _next_step(phase, readings)
        rows.add_row(presenters.name_of(phase.name), percentage(phase.percent), phase.status, since, step)
    yield rows
    off = sorted(name for name, is_on in settings.switches.items() if not is_on and name != EMERGENCY_STOP)
    yield f"revision {rollout.revision}; " + (f"off: {', '.join(off)}" if off else "all switches are on")
    if settings.is_latched:
        yield Text("EMERGENCY STOP: all names come from the direct API", "bold red")
    elif settings.held_for:
        yield Text(f"paused: {settings.held_for}", "yellow")
    if restart := presenters.last_restart(comparison_stats.WINDOW):
        yield restart
    yield presenters.convergence(convergence())
    for steps in timelines(rollout.revision):
        yield f"plan {steps[0].number}, by {steps[0].row.by}: {steps[0].row.reason}"
        yield from (f"  {step.line}" for step in steps)
    waiting = Approval.objects.waiting().count()
    if waiting:
        yield ngettext(
            "%(n)d change is waiting for approval by a second person",
            "%(n)d changes are waiting for approval by a second person",
            waiting,
        ) % {"n": waiting}


def _next_step(phase: Phase, readings: Round) -> str:
    if phase.next_percent is None:
        return ""
    step = percentage(phase.next_percent)
    if not phase.is_turn:
        return step
    reasons = "; ".join(dict.fromkeys(condition.message for condition in phase.holding))
    age = f" (measured {presenters.duration(readings.age)} ago)" if readings.is_old else ""
    return f"{step}: {f'waiting for: {reasons}' if reasons else 'every gate passes'}{age}"


def outcome(result: ChangeResult) -> Iterable[str]:
    """Yield a line for each difference that the change makes, then the revision or, in a dry run, a notice."""
    yield from presenters.outcome(result)
    yield "Dry run: nothing was written" if result.is_dry_run else f"Revision {result.revision}"


def gate_report(phase: str | None, *, is_stored: bool) -> Iterable[Any]:
    """Yield the gate results of the next step of ``phase``, and the comparisons.

    Without ``phase``, use the first incomplete phase. With ``is_stored``, store the results as a check.
    """
    name = rules.phase_name(phase) if phase else changes.next_phase()
    number, settings = rules.phase_number(name), RolloutSettings.read(Rollout.current())
    current = settings.percents[name]
    step = rules.step_after(name, current)
    if step is None:
        yield f"{presenters.name_of(name)}: complete, there is no next step"
    else:
        evaluation = (gates.check if is_stored else gates.evaluate)(number, step)
        rows = table(
            "GATE", "VERDICT", "RESULT", title=f"{presenters.name_of(name)}: {percentage(current)} → {percentage(step)}"
        )
        for condition in conditions(evaluation):
            rows.add_row(condition.title, Text(condition.verdict, _COLOURS[condition.tone]), condition.message)
        yield rows
        yield from (f"{GATES[one.gate]}: {_HINTS[one.gate]}" for one in evaluation.failing if one.gate in _HINTS)
        if evaluation.failing:
            yield str(evaluation.hold_message())
        else:
            try:
                # The gates do not check whether an earlier phase limits this one or the rollout is paused.
                settings.percents_after(name, step)
                yield f"All gates pass: phase {number} can take its next step"
            except ChangeRefused as refusal:
                yield f"Every gate passes, but not yet: {refusal}"
    if number >= 3:
        yield from comparisons()


def history(limit: int) -> Table:
    rows = table(">REV", "WHEN", "WHO", "WHAT", "REASON")
    for change in Change.objects.all()[:limit]:
        by, why = audit_rows.authors(change), audit_rows.reasons(change)
        rows.add_row(str(change.revision), times.stamp(change.at), by, _what(change), why)
    return rows


def _what(row: ChangeRecord) -> Text:
    what = Text(audit_rows.change(row))
    return what.append(f" ({forced_past(row)})", "red") if row.is_forced else what


def requests() -> Table:
    rows = table(">ID", "UNTIL", "WHO", "WHAT", "REASON")
    for approval in Approval.objects.waiting():
        until, by = presenters.moment(approval.expires_at), presenters.actor(approval.by)
        rows.add_row(str(approval.pk), until, by, _what(approval), approval.text)
    return rows


def preview(shown: Preview) -> Iterable[Any]:
    total, unknown, calls = shown.total, shown.without_profile, round(shown.api_calls_per_day)
    meaning, label = effect(shown.phase, is_raise=shown.target > shown.current)
    people = f"{label}: %(n)s"
    if shown.phase == CACHE_FIRST and shown.target > shown.current:
        people = ngettext(
            "%(n)s employee moves from the direct API to the cache",
            "%(n)s employees move from the direct API to the cache",
            total,
        )
    strangers = ngettext("%(n)s employee has no cached profile", "%(n)s employees have no cached profile", unknown)
    asked = ngettext("%(n)s direct API call a day", "%(n)s direct API calls a day", abs(calls))
    step = f"Phase {shown.phase}, {percentage(shown.current)} → {percentage(shown.target)}"
    numbers = [people % {"n": shown_number(total)}, strangers % {"n": shown_number(unknown)}]
    yield f"{step}: {'; '.join([*numbers, asked % {'n': f'{calls:+d}'}])}"
    yield meaning
    if not shown.universities:
        return
    shares = table("UNIVERSITY", ">EMPLOYEES", ">WITHOUT PROFILE", ">LOOKUPS/WEEK")
    for share in shown.universities:
        shares.add_row(
            share.name, shown_number(share.people), shown_number(share.without_profile), shown_number(share.lookups)
        )
    yield shares
    if shown.people:
        names = table("EMPLOYEE", "PHONE", "UNIVERSITY", "NAME FROM")
        for person in shown.people:
            names.add_row(str(person), masked(person.phone), person.university.name, person.profile_source)
        yield names


def stats_line(stats: ComparisonStats) -> str:
    """Return a line with agreement, coverage and errors: agreement alone would be misleading."""
    shares = (stats.agreement, stats.coverage, stats.errors)
    agreement, coverage, errors = ("—" if share is None else shown_percent(share) for share in shares)
    return f"agreement {agreement}, coverage {coverage}, errors {errors} (n = {shown_number(stats.total)})"


def comparisons() -> Iterable[Any]:
    rows = comparison_stats.counted()
    stats, ages = comparison_stats.stats_of(rows), comparison_stats.by_age(rows)
    if restart := presenters.last_restart(comparison_stats.WINDOW):
        yield restart
    yield f"Comparisons of the last {comparison_stats.WINDOW.days} days: {stats_line(stats)}"
    yield counts(ComparisonOutcome, dict(sorted(stats.counts.items()))) or "none yet"
    if patterns := comparison_stats.conflict_patterns(rows):
        yield f"conflicts: {counts(Pattern, patterns)}"
    for edge, aged in ages.items():
        age = "older" if math.isinf(edge) else f"up to {edge:g} {'day' if edge == 1 else 'days'}"
        yield f"  {age:<14}{stats_line(aged)}"
    ttl = comparison_stats.recommended_ttl(ages)
    yield f"recommended PROFILE_TTL: {ttl.days * 24}h" if ttl else str(comparison_stats.ttl_advice(ages))


def counts(names: type[TextChoices], numbers: Mapping[str, int]) -> str:
    """Return the numbers in one line, each after the label of its choice."""
    labels = dict(names.choices)
    return ", ".join(f"{labels.get(name, name)} {shown_number(n)}" for name, n in numbers.items())


def measured(name: str, value: float | None) -> str:
    """Format a value of ``comparison_stats.replay``: “errors” as a percentage, others as numbers, None as a dash."""
    if value is None:
        return "—"
    if name == "errors":
        return shown_percent(value)
    return number_format(value, 1) if isinstance(value, float) else shown_number(value)


def checklist() -> Iterable[Any]:
    rows = table("", "SECTION", "ITEM", "STATUS", "UNTIL")
    for status in checklist_status(rounds.latest()):
        mark = Text("✓", "green") if status.is_done else Text("·", "red")
        until = f"{status.expires_at:%F}" if status.expires_at else ""
        rows.add_row(mark, str(status.section), str(status.title), status.message, until)
    yield rows
