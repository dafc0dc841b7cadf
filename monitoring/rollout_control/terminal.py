"""What the rollout's commands print: tables and lines made for a terminal, and the same without one."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import ngettext
from rich.console import Console
from rich.table import Table

from config.lib.formats import percent_of, thousands
from monitoring.indicators import rounds
from monitoring.indicators.models import OLD
from monitoring.rollout_control import gates
from monitoring.rollout_control.checklist import checklist_status
from monitoring.rollout_control.gates.results import Judgement, TransitionStep
from monitoring.rollout_control.models import Verdict
from monitoring.rollout_control.preview import Preview
from monitoring.stats import comparison_stats
from monitoring.stats.comparison_stats import ComparisonStats
from profiles.phones import masked
from profiles.rollout import changes, rules
from profiles.rollout.heartbeat import Convergence
from profiles.rollout.models import Change, Flag, Plan, PlanState, Rollout
from profiles.rollout.phases import PHASES
from profiles.rollout.rollout_settings import ChangeResult, RolloutSettings
from profiles.rollout.rules import ChangeRefused

_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.INCONCLUSIVE: "yellow", Verdict.ERROR: "magenta"}


def rendered(parts: Iterable[Any], *, has_colour: bool) -> str:
    """Return what rich makes of tables and lines; without a terminal, 110 columns and no colour."""
    width = max(shutil.get_terminal_size((110, 24)).columns, 80) if has_colour else 110
    console = Console(file=io.StringIO(), width=width, force_terminal=has_colour, highlight=False)
    for part in parts:
        console.print(part)
    return console.file.getvalue().rstrip("\n")  # type: ignore[attr-defined,no-any-return]


def table(*columns: str, title: str | None = None) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left", title_style="bold")
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return made


def status(rollout: Rollout, controls: RolloutSettings, spread: Convergence) -> Iterable[Any]:
    phases = table("PHASE", ">PERCENT", "STATUS", ">SINCE", "MESSAGE")
    flags = {flag.name: flag for flag in Flag.objects.filter(name__in=PHASES)}
    for name in PHASES:
        flag = flags.get(name)
        since = _ago(flag.moved_at) if flag else "—"
        word, message = _condition(name, controls, flags)
        phases.add_row(name, f"{rules.shown(controls.percents[name])} %", word, since, message)
    yield phases
    off = [name for name, is_on in controls.switches.items() if not is_on and name != "emergency_stop"]
    yield f"revision {rollout.revision}, " + (f"off: {', '.join(sorted(off))}" if off else "all switches on")
    if controls.is_latched:
        yield "[bold red]EMERGENCY STOP is latched: the direct API answers for everyone[/]"
    if controls.held_for:
        yield f"[yellow]paused: {controls.held_for}[/]"
    yield converged(spread)
    for plan in Plan.objects.filter(state=PlanState.PLANNED):
        void = "" if plan.revision == rollout.revision else ", void: the rollout has changed since"
        step = f"phase {plan.phase} to {rules.shown(plan.percent)} %"
        yield f"planned: {step} at {plan.due_at:%F %H:%M %Z} by {plan.by}{void}"


def _condition(name: str, controls: RolloutSettings, flags: Mapping[str, Flag]) -> tuple[str, str]:
    """Return the phase's status in Flagger's words, and what holds its next step, as a step would be judged."""
    percent = controls.percents[name]
    if controls.is_latched:
        return "Stopped", ""
    if name in controls.everyone:
        return "Overridden", "on for everyone" if controls.everyone[name] else "off for everyone"
    step = rules.step_after(name, percent)
    if step is None:
        return "Succeeded", ""
    waiting = f"next {rules.shown(step)} %"
    if name == changes.turn():
        waiting += _judged(gates.last_judged(rules.phase_number(name), step, flags, rounds.latest()))
    if controls.held_for:
        return "Paused", waiting
    return ("Progressing" if percent else "Initialized"), waiting


def _judged(judged: Judgement) -> str:
    reasons = "; ".join(dict.fromkeys(result.message for result in judged.failing))
    age = f" (as of {_ago(judged.measured_at)} ago)" if timezone.now() - judged.measured_at > OLD else ""
    return (f": held, {reasons}" if reasons else ": every gate passed") + age


def converged(spread: Convergence) -> str:
    line = f"processes {len(spread.reached)}/{spread.living} at revision {spread.revision}"
    if spread.seconds is not None and spread.living:
        line += f" after {spread.seconds:.1f} s"
    if spread.behind:
        line += f"; behind: {', '.join(spread.behind)}"
    if spread.silent:
        line += f"; silent, not counted: {', '.join(spread.silent)}"
    return line


def _ago(at: Any) -> str:
    seconds = (timezone.now() - at).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def outcome(result: ChangeResult) -> Iterable[str]:
    """Say what changed, or would change, in a line each."""
    if not result.is_change:
        yield f"Nothing to change (revision {result.revision})"
        return
    for name, before, after in result.differences():
        if name in PHASES:
            yield f"{name}: {before} % → {after} %"
        else:
            yield f"{name}: {_word(before)} → {_word(after)}"
    yield "Dry run: nothing was written" if result.is_dry_run else f"Revision {result.revision}"


def _word(value: Any) -> str:
    return {True: "on", False: "off", None: "—", "": "—"}.get(value, value) if not isinstance(value, dict) else "…"


def judgement(judged: Judgement) -> Iterable[Any]:
    step = judged.step
    title = f"Phase {step.phase}, {rules.shown(step.current)} % → {rules.shown(step.target)} %"
    rows = table("GATE", "VERDICT", "FOUND", title=title)
    for result in judged.findings:
        rows.add_row(result.gate, f"[{_COLOURS[result.verdict]}]{result.verdict}[/]", result.message)
    yield rows
    yield str(judged.held()) if judged.failing else _passed(step)


def _passed(step: TransitionStep) -> str:
    """Say too what no gate asks: whether a phase before comes first, and whether anything may go up now."""
    try:
        RolloutSettings.read(Rollout.current()).moved(PHASES[step.phase - 1], step.target)
    except ChangeRefused as refusal:
        return f"Every gate passes, but not yet: {refusal}"
    return f"Every gate passes: phase {step.phase} may go on"


def history(limit: int) -> Table:
    rows = table(">REV", "WHEN", "WHO", "WHAT", "REASON")
    for change in Change.objects.all()[:limit]:
        what = ", ".join(_moves(change)) or change.action
        if change.is_forced:
            bad = [item["gate"] for item in change.evidence if item["verdict"] != Verdict.PASS]
            what += f" [red](forced past {', '.join(bad)})[/]"
        rows.add_row(str(change.revision), f"{change.at:%F %H:%M:%S}", change.by, what, change.text)
    return rows


def _moves(change: Change) -> Iterable[str]:
    if said := _SAID.get(change.action):
        yield from said(change)
    before, after = change.before.get("percents", {}), change.after.get("percents", {})
    for name in sorted(after):
        if before.get(name, "0") != after[name]:
            yield f"{name.partition('_')[0]} {before.get(name, '0')} → {after[name]} %"
    before, after = change.before.get("switches", {}), change.after.get("switches", {})
    yield from (f"{name} {_word(after[name])}" for name in sorted(before) if before[name] != after.get(name))
    if change.before.get("held_for") != change.after.get("held_for"):
        yield "paused" if change.after.get("held_for") else "resumed"


def _rule_lines(change: Change) -> Iterable[str]:
    rule = change.after or change.before
    how = ("let into" if rule["allowed"] else "kept out of") if change.after else "by the percentage again in"
    yield f"university {rule['university']} {how} phase {rule['phase']}"


def _plan_lines(change: Change) -> Iterable[str]:
    plan, deed = change.after or change.before, "planned" if change.after else "cancelled"
    due_at = datetime.fromisoformat(plan["due_at"]).astimezone(UTC)
    yield f"{deed}: phase {plan['phase']} to {plan['percent']} % at {due_at:%F %H:%M %Z}"


_SAID: dict[str, Callable[[Change], Iterable[str]]] = {
    "scope": _rule_lines,
    "seed": lambda _: ["seed"],
    "plan": _plan_lines,
    "cancel": _plan_lines,
    "delete": lambda change: [f"{name} deleted" for name in change.before["percents"]],
    "rehearsal": lambda change: [
        "rehearsal: university {university} out in {out_s} s, back in {total_s} s".format(**change.after)
    ],
}


def preview(seen: Preview) -> Iterable[Any]:
    shares = table("UNIVERSITY", ">PEOPLE", ">WITHOUT PROFILE", ">LOOKUPS/WEEK")
    for share in seen.universities:
        shares.add_row(share.name, thousands(share.people), thousands(share.without_profile), thousands(share.lookups))
    yield f"Phase {seen.phase} {rules.shown(seen.current)} % → {rules.shown(seen.target)} %: {_who_goes(seen)}"
    yield shares
    if seen.people:
        people = table("EMPLOYEE", "PHONE", "UNIVERSITY", "NAMED BY")
        for person in seen.people:
            people.add_row(str(person), masked(person.phone), person.university.name, person.profile_source)
        yield people


def _who_goes(seen: Preview) -> str:
    total, strangers, calls = seen.total, seen.without_profile, round(seen.api_calls_per_day)
    if seen.target > seen.current:
        people = ngettext(
            "%(n)s employee goes from the direct API to the cache",
            "%(n)s employees go from the direct API to the cache",
            total,
        )
    else:
        people = ngettext(
            "%(n)s employee goes back to the direct API", "%(n)s employees go back to the direct API", total
        )
    unknown = ngettext("%(n)s has no cached profile", "%(n)s have no cached profile", strangers)
    asked = ngettext("%(n)s call of the direct API a day", "%(n)s calls of the direct API a day", abs(calls))
    return (
        f"{people % {'n': thousands(total)}}, {unknown % {'n': thousands(strangers)}}; {asked % {'n': f'{calls:+d}'}}"
    )


def stats_line(seen: ComparisonStats) -> str:
    """Agreement, coverage and errors, always together."""
    shares = (seen.agreement, seen.coverage, seen.errors)
    agreement, coverage, errors = ("—" if share is None else percent_of(share) for share in shares)
    return f"agreement {agreement}, coverage {coverage}, errors {errors} (n = {thousands(seen.total)})"


def comparisons() -> Iterable[Any]:
    rows = comparison_stats.recent()
    yield f"Comparisons of the last {comparison_stats.WINDOW.days} days: {stats_line(comparison_stats.stats_of(rows))}"
    outcomes = ", ".join(f"{name} {thousands(n)}" for name, n in sorted(comparison_stats.stats_of(rows).counts.items()))
    yield outcomes or "none yet"
    patterns = comparison_stats.conflict_patterns(rows)
    if patterns:
        yield "conflicts: " + ", ".join(f"{pattern} {n}" for pattern, n in patterns.items())
    ages = comparison_stats.by_age(rows)
    for edge, seen in ages.items():
        yield f"  {'older' if math.isinf(edge) else f'up to {edge:g} days':<14}{stats_line(seen)}"
    ttl = comparison_stats.recommended_ttl(ages)
    yield "recommended PROFILE_TTL: " + (f"{ttl.days * 24}h" if ttl else "too little is known")


def gates_of(phase: int | None, *, is_kept: bool) -> Iterable[Any]:
    name = rules.phase_name(phase) if phase else changes.turn()
    number = rules.phase_number(name)
    step = rules.step_after(name, gates.transition_step(number, rules.percentage(100)).current)
    if step is None:
        yield f"Phase {number} is at 100 %: there is no next step"
    else:
        yield from judgement(gates.check(number, step) if is_kept else gates.judge(number, step))
    if number >= 3:
        yield from comparisons()


def checklist() -> Iterable[Any]:
    """The guide's checklist, a line an item."""
    rows = table("", "SECTION", "ITEM", "HOW IT IS KNOWN", "UNTIL")
    for standing in checklist_status(rounds.latest()):
        mark = "[green]✓[/]" if standing.is_done else "[red]·[/]"
        until = f"{standing.expires_at:%F}" if standing.expires_at else ""
        rows.add_row(mark, str(standing.item.section), str(standing.item.text), standing.how, until)
    yield rows
