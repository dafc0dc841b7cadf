"""``manage.py rollout``: exits 0 when done, 1 when refused, 2 when a gate holds it or the words make no sense."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import ngettext

from config.env import parse_duration
from config.lib import shell_user
from employees.models import BackfillRun, RunStatus, University
from monitoring.indicators import probe
from monitoring.rollout_control import controller, preview, terminal
from monitoring.stats import comparison_stats
from profiles import phones
from profiles.rollout import changes, rules
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.changes import GatesNotPassed
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Action, OnBreach, Rollout, UniversityRule
from profiles.rollout.rollout_settings import RolloutSettings
from profiles.rollout.rules import ChangeRefused

LONGEST_LIST = 100_000


class Command(BaseCommand):
    help = "Look at the rollout of the profile cache and steer it; every change needs a reason and is recorded."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
        _add_looks(commands.add_parser)
        _add_changes(commands.add_parser)

    def handle(self, *args: Any, subcommand: str, **options: Any) -> None:
        has_colour = self.stdout.isatty() and not options.get("no_color")
        try:
            # Rendered here: some of the parts are made while they are printed.
            parts = getattr(self, f"on_{subcommand.replace('-', '_')}")(**options)
            text = terminal.rendered(parts, has_colour=has_colour)
        except GatesNotPassed as held:
            raise CommandError(str(held), returncode=2) from None
        except ChangeRefused as refused:
            raise CommandError(str(refused)) from None
        except DatabaseError as error:
            raise CommandError(f"PostgreSQL: {str(error).splitlines()[0]}") from None
        self.stdout.write(text)

    def on_status(self, **_: Any) -> Iterable[Any]:
        rollout = Rollout.current()
        return terminal.status(rollout, RolloutSettings.read(rollout), convergence())

    def on_explain(self, phone: str, ask_api: bool, **_: Any) -> Iterable[Any]:
        try:
            known = preview.explain(phones.normalize(phone), asks_api=ask_api)
        except ValueError as error:
            raise CommandError(str(error)) from None
        for name, value in known.items():
            if value is not None:
                shown = f"{value / timedelta(days=1):.1f} days" if isinstance(value, timedelta) else value
                yield f"{name:<12}{shown}"

    def on_preview(self, phase: str, percent: str, limit: int, **_: Any) -> Iterable[Any]:
        name = rules.phase_name(phase)
        seen = preview.preview(name, rules.phase_number(name), rules.percentage(percent), limit)
        return terminal.preview(seen)

    def on_set(self, phase: str, percent: str, **options: Any) -> Iterable[Any]:
        return terminal.outcome(changes.apply(request_of(Action.SET, options, phase=phase, percent=percent)))

    def on_advance(self, phase: str | None, **options: Any) -> Iterable[Any]:
        return terminal.outcome(changes.apply(request_of(Action.ADVANCE, options, phase=phase)))

    def on_pause(self, **options: Any) -> Iterable[Any]:
        return terminal.outcome(changes.apply(request_of(Action.PAUSE, options)))

    def on_resume(self, **options: Any) -> Iterable[Any]:
        yield from terminal.outcome(changes.apply(request_of(Action.RESUME, options)))
        for run in BackfillRun.objects.filter(status=RunStatus.PAUSED):
            yield f"Backfill {run.pk} stays paused ({run.pause_reason}): “backfill resume” goes on with it"

    def on_university(self, rule: str, id: int, phase: int, until: str | None, **options: Any) -> Iterable[Any]:  # noqa: A002 (the option's name)
        if rule == "clear":
            scopes = list(UniversityRule.objects.filter(university_id=id, phase=phase))
        else:
            if not University.objects.filter(pk=id).exists():
                raise CommandError(f"There is no university {id}")
            key = {"university_id": id, "phase": phase, "is_allowed": rule == "allow"}
            scope = UniversityRule.objects.filter(**key).first() or UniversityRule(**key)
            scope.expires_at = moment(until) if until else None
            scopes = [scope]
        request = request_of(Action.SCOPE, options, is_on=rule != "clear")
        for scope in scopes:
            outcome = changes.apply(replace(request, rule=scope))
            request = replace(request, expected_revision=outcome.revision)
        yield f"university {id}, phase {phase}: {rule}" + (", a dry run" if request.is_dry_run else "")

    def on_on_breach(self, action: str, **options: Any) -> Iterable[Any]:
        return terminal.outcome(changes.apply(request_of(Action.ON_BREACH, options, on_breach=action)))

    def on_schedule(self, phase: str, percent: str, at: str, **options: Any) -> Iterable[Any]:
        request = request_of(Action.PLAN, options, phase=phase, percent=percent, due_at=moment(at))
        revision = changes.apply(request).revision
        step = f"phase {rules.phase_number(request.phase)} to {rules.format_percent(request.percent)} %"
        planned = "Dry run" if request.is_dry_run else f"Planned at revision {revision}"
        yield f"{planned}: {step} at {request.due_at:%F %H:%M %Z}"

    def on_replay(self, percent: str, days: int, **_: Any) -> Iterable[Any]:
        share = rules.percentage(percent)
        if not 1 <= days <= controller.KEPT.days:
            raise CommandError(f"Comparisons are kept for {controller.KEPT.days} days: --days is 1 to that")
        seen = comparison_stats.replay(share, timedelta(days=days))
        universities = seen.pop("by_university")
        within = ngettext("in the last day", "in the last %(n)d days", days) % {"n": days}
        yield f"Had phase 3 been at {rules.format_percent(share)} % {within}:"
        for name, value in seen.items():
            shown = f"{value:.3f}" if isinstance(value, float) else value
            yield f"  {name:<18}{'—' if shown is None or shown == {} else shown}"
        rows = terminal.table("UNIVERSITY", "SEEN")
        for university, stats in sorted(universities.items(), key=lambda item: -item[1].total):
            rows.add_row(str(university or "—"), terminal.stats_line(stats))
        yield rows

    def on_history(self, limit: int, **_: Any) -> Iterable[Any]:
        return [terminal.history(limit)]

    def on_checklist(self, **_: Any) -> Iterable[Any]:
        return terminal.checklist()

    def on_gates(self, phase: str | None, dry_run: bool, **options: Any) -> Iterable[Any]:
        if options["probe"]:
            yield f"synthetic update: {probe.round_trip()}"
        number = rules.phase_number(rules.phase_name(phase)) if phase else None
        yield from terminal.gates_of(number, is_kept=not dry_run)


def _lines(text: str) -> int:
    """Read how many lines to print; what no terminal shows is a slip."""
    if not (text.isdecimal() and int(text) <= LONGEST_LIST):
        raise ArgumentTypeError(f"0 to {LONGEST_LIST}")
    return int(text)


def _add_looks(add: Callable[..., ArgumentParser]) -> None:
    add("status", help="each phase in a line, and whether every process follows")
    explain = add("explain", help="how one phone is decided, and who knows the person")
    explain.add_argument("--phone", required=True)
    explain.add_argument("--ask-api", action="store_true", help="ask the direct API too")
    seen = add("preview", help="who would change path")
    _phase_and_percent(seen)
    seen.add_argument("--limit", type=_lines, default=20, help="names to list [20]")
    replay = add("replay", help="what the last week had been like at a percentage")
    replay.add_argument("--percent", required=True)
    replay.add_argument("--days", type=int, default=7)
    add("history", help="who changed what, when and why").add_argument("--limit", type=_lines, default=20)
    add("checklist", help="the guide's migration checklist: what a machine sees, what was signed")
    gates = add("gates", help="what the gates say of the next step")
    gates.add_argument("--phase", help="1 to 4; without it, the phase whose turn it is")
    gates.add_argument("--probe", action="store_true", help="send a synthetic update through the webhook first")
    gates.add_argument("--dry-run", action="store_true", help="do not count this as one of the checks in a row")


def _add_changes(add: Callable[..., ArgumentParser]) -> None:
    change = add("set", help="set a phase: up one step at a time through the gates, down at once")
    advance = add("advance", help="take the next step of 1 → 5 → 25 → 50 → 75 → 100")
    advance.add_argument("--phase", help="1 to 4; without it, the phase whose turn it is")
    for stepping in (change, advance):
        stepping.add_argument("--force", action="store_true", help="past gates that do not pass; recorded with them")
    pause = add("pause", help="stop advances, schedules and automatic steps; percentages stay")
    resume = add("resume", help="go on after a pause, or start anew after an emergency")
    schedule = add("schedule", help="plan a step: judged again when it is due, dropped when the rollout has moved")
    schedule.add_argument("--at", required=True, help="2026-12-01T09:00+03:00, or a duration from now: 12h")
    rule = add("university", help="let a university into a phase whatever the percentage, or keep it out")
    rule.add_argument("rule", choices=["allow", "deny", "clear"])
    rule.add_argument("--id", type=int, required=True, help="the university")
    rule.add_argument("--phase", type=int, choices=[3, 4], default=3)
    rule.add_argument("--until", help="when the rule ends: a moment, or a duration from now")
    breach = add("on-breach", help="what three breaches in a row do")
    breach.add_argument("action", choices=OnBreach.values)
    for setting in (change, schedule):
        _phase_and_percent(setting)
    for writing in (change, advance, pause, resume, rule, breach, schedule):
        _terms(writing)


def _phase_and_percent(parser: ArgumentParser) -> None:
    parser.add_argument("--phase", required=True, help="1 to 4, or the flag's name")
    parser.add_argument("--percent", required=True, help="0 to 100, two decimals; phases 1 and 2 are 0 or 100")


def _terms(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", default="", help="why; recorded for good")
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, and write nothing")
    parser.add_argument(
        "--expect-revision", metavar="N", help="refuse when somebody else changed the rollout meanwhile"
    )
    parser.add_argument("--by", default=None, help="who [the user of this shell]")


def request_of(action: Action, options: Mapping[str, Any], **what: Any) -> ChangeRequest:
    """Return the change that a command asks for, by the options that it has of those that all share."""
    return ChangeRequest.of(
        action,
        Source.COMMAND,
        by=options.get("by") or shell_user.login(),
        reason=options["reason"],
        expected_revision=options.get("expect_revision"),
        is_dry_run=options["dry_run"],
        is_forced=options.get("force", False),
        **what,
    )


def moment(text: str) -> datetime:
    """Read a moment to come, or a duration from now."""
    try:
        at = parse_datetime(text) or timezone.now() + parse_duration(text)
        # Within the years that there are in UTC.
        at = (at if at.tzinfo else timezone.make_aware(at)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise CommandError(f"Neither a moment nor a duration: {text[:50]}") from None
    if at <= timezone.now():
        raise CommandError(f"That moment is over: {text[:50]}")
    return at
