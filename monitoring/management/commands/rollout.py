"""``manage.py rollout``: exits with 0 if done, 1 if refused, 4 if the change waits for approval.

It exits with 2 if gates do not pass or an argument is invalid, and with 3 if the change is stored but not confirmed.
"""

import getpass
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, OutputWrapper
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import ngettext

from config.env import parse_duration
from config.lib import shell_user, times
from config.lib.commands import BaseCommand
from config.postgres.base import CommitNotConfirmed
from config.postgres.locks import confirmed_together
from employees.models import BackfillRun, RunStatus, University
from monitoring.dashboard import explanation
from monitoring.indicators import probe, rounds
from monitoring.rollout_control import approvals, controller, preview, terminal
from monitoring.stats import comparison_stats
from profiles import phones
from profiles.models.comparison import Pattern
from profiles.rollout import changes, plans, presenters, rules
from profiles.rollout.approvals import ApprovalNeeded
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.changes import GatesNotPassed
from profiles.rollout.models import Action, OnBreach, UniversityRule, university_name
from profiles.rollout.phases import SWITCHES
from profiles.rollout.presenters import audit_rows
from profiles.rollout.rules import ChangeRefused
from profiles.rollout.standby import HERE_ONLY

LONGEST_LIST = 100_000
# Tables with sentences in several columns are WIDE without a terminal. In a terminal, all tables have its width.
_WIDE, WIDE = {"status", "history", "approvals", "checklist"}, 110
_REPLAYED = {
    "lookups": "Lookups",
    "cache_answers": "Names from the cache",
    "api_calls_left": "Direct API calls left",
    "conflicts": "Conflicts",
    "name_changes": "Other names than now",
    "richer": "Fuller names than now",
    "errors": "Errors",
    "average_age_days": "Average age in the cache, days",
}


class Command(BaseCommand):
    help = "Show and control the rollout of the profile cache. Every change needs a reason, kept in the audit log."
    is_here_only = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
        _add_queries(commands.add_parser)
        _add_changes(commands.add_parser)

    def handle(self, *args: Any, subcommand: str, **options: Any) -> None:
        has_colour = self.stdout.isatty() and not options.get("no_color")
        with times.for_terminal(), refusals_as_errors(self.stdout):
            try:
                # Rendered inside ``try``: some parts are generators, which may raise while they are rendered.
                parts = getattr(self, f"on_{subcommand.replace('-', '_')}")(**options)
                width = WIDE if subcommand in _WIDE else 80
                text = terminal.rendered(parts, has_colour=has_colour, width=width)
            except GatesNotPassed as held:
                raise CommandError(str(held), returncode=2) from None
        self.stdout.write(text)
        if self.is_here_only:
            raise CommandError(str(HERE_ONLY), returncode=3)

    def on_status(self, **_: Any) -> Iterable[Any]:
        return terminal.status()

    def on_explain(self, phone: str, ask_api: bool, **_: Any) -> Iterable[Any]:
        try:
            facts = preview.explain(phones.normalize(phone), asks_api=ask_api)
        except ValueError as error:
            raise CommandError(str(error)) from None
        yield terminal.facts(explanation.rows(facts))

    def on_preview(self, phase: str, percent: str, limit: int, **_: Any) -> Iterable[Any]:
        name = rules.phase_name(phase)
        return terminal.preview(preview.preview(name, rules.phase_number(name), rules.percentage(percent), limit))

    def on_set(self, phase: str, percent: str, **options: Any) -> Iterable[Any]:
        return terminal.outcome(changes.apply(request_of(Action.SET, options, phase=phase, percent=percent)))

    def on_advance(self, phase: str | None, **options: Any) -> Iterable[Any]:
        return terminal.outcome(changes.apply(request_of(Action.ADVANCE, options, phase=phase)))

    def on_pause(self, **options: Any) -> Iterable[Any]:
        result = changes.apply(request_of(Action.PAUSE, options))
        self.is_here_only = result.is_here_only
        return terminal.outcome(result)

    def on_resume(self, **options: Any) -> Iterable[Any]:
        yield from terminal.outcome(changes.apply(request_of(Action.RESUME, options)))
        for run in BackfillRun.objects.filter(status=RunStatus.PAUSED):
            yield f"Backfill {run.pk} stays paused ({run.pause_reason}). Continue it with “backfill resume”."

    def on_switch(self, name: str, state: str, **options: Any) -> Iterable[Any]:
        return terminal.outcome(changes.apply(request_of(Action.SWITCH, options, switch=name, is_on=state == "on")))

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
        with confirmed_together() if len(scopes) > 1 and not request.is_dry_run else nullcontext():
            for scope in scopes:
                outcome = changes.apply(replace(request, rule=scope))
                request = replace(request, expected_revision=outcome.revision)
                yield audit_rows.rule_change(scope, is_removed=rule == "clear")
        if not scopes or request.is_dry_run:
            yield "Dry run: nothing was written" if scopes else "No changes"

    def on_on_breach(self, action: str, **options: Any) -> Iterable[Any]:
        return terminal.outcome(changes.apply(request_of(Action.ON_BREACH, options, on_breach=action)))

    def on_schedule(self, phase: str, percent: list[str], at: list[str], **options: Any) -> Iterable[Any]:
        waits_for_gates = options["when_gates_pass"]
        if waits_for_gates and len(at) <= 1:
            # A step may be due at once, but “now” is past by the time of the check.
            at = (at or ["1s"]) * len(percent)
        if len(at) != len(percent):
            raise CommandError("Give --at once for each --percent, or --when-gates-pass")
        steps = list(zip(percent, map(moment, at), strict=True))
        params = {"waits_for_gates": waits_for_gates, "hours": rules.hours(options["hours"])}
        request = request_of(Action.PLAN, options, phase=phase, steps=steps, **params)
        revision = changes.apply(request).revision
        planned = "Dry run" if request.is_dry_run else f"Planned at revision {revision}"
        yield f"{planned}: {audit_rows.plan(plans.as_json(plans.steps_of(request, revision)))}"

    def on_unschedule(self, number: int, **options: Any) -> Iterable[Any]:
        request = request_of(Action.CANCEL, options, plan=number)
        changes.apply(request)
        yield "Dry run: nothing was written" if request.is_dry_run else "The plan is cancelled"

    def on_approvals(self, **_: Any) -> Iterable[Any]:
        return [terminal.requests()]

    def on_approve(self, number: int, subcommand: str = "approve", **options: Any) -> Iterable[Any]:
        decider, reason = decider_of(options["by"]), options["reason"]
        params = {"expected_revision": options["expect_revision"], "is_dry_run": options["dry_run"]}
        yield from terminal.outcome(approvals.VERDICTS[subcommand](number, decider, reason, **params))

    def on_refuse(self, number: int, **options: Any) -> Iterable[Any]:
        return self.on_approve(number, "refuse", **options)

    def on_replay(self, percent: str, days: int, **_: Any) -> Iterable[Any]:
        share = rules.percentage(percent)
        if not 1 <= days <= controller.RETENTION.days:
            raise CommandError(f"--days must be 1 to {controller.RETENTION.days}: older comparisons are deleted")
        stats = comparison_stats.replay(share, timedelta(days=days))
        universities, patterns = stats.pop("by_university"), stats.pop("patterns")
        within = ngettext("in the last day", "in the last %(n)d days", days) % {"n": days}
        yield f"With phase 3 at {presenters.percentage(share)} {within}:"
        for name, value in stats.items():
            yield f"  {_REPLAYED[name]:<36}{terminal.measured(name, value)}"
        if patterns:
            yield f"  {'Kinds of conflicts':<36}{terminal.counts(Pattern, patterns)}"
        rows = terminal.table("UNIVERSITY", "COMPARISONS")
        for university, compared in sorted(universities.items(), key=lambda item: -item[1].total):
            rows.add_row(university_name(university) if university else "—", terminal.stats_line(compared))
        yield rows

    def on_history(self, limit: int, **_: Any) -> Iterable[Any]:
        return [terminal.history(limit)]

    def on_checklist(self, **_: Any) -> Iterable[Any]:
        return terminal.checklist()

    def on_gates(self, phase: str | None, dry_run: bool, **options: Any) -> Iterable[Any]:
        if options["probe"]:
            yield f"synthetic update: {probe.round_trip()}"
            # The stored round may be from before this update, which the gates must count.
            rounds.take_round(is_worker=False)
        yield from terminal.gate_report(phase, is_stored=not dry_run)


def _lines(text: str) -> int:
    if not (text.isdecimal() and int(text) <= LONGEST_LIST):
        raise ArgumentTypeError(f"must be 0 to {LONGEST_LIST}")
    return int(text)


def _add_queries(add: Callable[..., ArgumentParser]) -> None:
    add("status", help="show each phase, and whether every process has applied the last change")
    explain = add("explain", help="show where a person's name comes from and why, and what each store has")
    explain.add_argument("--phone", required=True)
    explain.add_argument("--ask-api", action="store_true", help="query the direct API as well")
    _add_phase_and_percent(preview := add("preview", help="show who would change path"))
    preview.add_argument("--limit", type=_lines, default=20, help="names to list [20]")
    replay = add("replay", help="show what the last days would have been like at a percentage of phase 3")
    replay.add_argument("--percent", required=True)
    replay.add_argument("--days", type=int, default=7, help="days of comparisons [7]")
    add("approvals", help="show the changes that wait for approval by a second person")
    add("history", help="show the latest changes").add_argument("--limit", type=_lines, default=20, help="rows [20]")
    add("checklist", help="show the guide's migration checklist with measurements and signatures")
    gates = add("gates", help="check the gates of the next step")
    gates.add_argument("--phase", help="1 to 4 [the first phase that is not complete]")
    gates.add_argument("--probe", action="store_true", help="send a synthetic update through the webhook first")
    gates.add_argument("--dry-run", action="store_true", help="do not count this as one of the checks in a row")


def _add_changes(add: Callable[..., ArgumentParser]) -> None:
    change = add("set", help="set a phase: increases go one step at a time through the gates, decreases apply at once")
    advance = add("advance", help="take the next step of 1 → 5 → 25 → 50 → 75 → 100")
    advance.add_argument("--phase", help="1 to 4 [the first phase that is not complete]")
    for stepping in (change, advance):
        stepping.add_argument("--force", action="store_true", help="take the step even if some gates have not passed")
    pause = add("pause", help="stop advances, planned steps and automatic steps; percentages stay")
    resume = add("resume", help="continue after a pause, or end an emergency stop")
    switch = add("switch", help="turn a part of the system on or off")
    switch.add_argument("name", choices=SWITCHES)
    switch.add_argument("state", choices=["on", "off"])
    unschedule = add("unschedule", help="cancel a plan, or what is left of it")
    approve = add("approve", help="approve somebody else's request, which is then judged again and applied")
    refuse = add("refuse", help="refuse somebody else's request, or withdraw your own")
    for deciding in (unschedule, approve, refuse):
        deciding.add_argument("number", type=int, help="its number, from “status” or “approvals”")
    rule = add("university", help="let a university into a phase whatever the percentage, or keep it out")
    rule.add_argument("rule", choices=["allow", "deny", "clear"])
    rule.add_argument("--id", type=int, required=True, help="ID of the university")
    rule.add_argument("--phase", type=int, choices=[3, 4], default=3)
    rule.add_argument("--until", help="end of the rule: a moment, or a duration from now")
    breach = add("on-breach", help="choose what the controller does after three breaches in a row")
    breach.add_argument("action", choices=OnBreach.values)
    _add_phase_and_percent(change)
    schedule = add("schedule", help="plan steps; each is judged when it is due, and any other change ends the plan")
    _add_steps(schedule)
    for writing in (change, advance, pause, resume, switch, rule, breach, schedule, unschedule, approve, refuse):
        add_terms(writing)
        writing.add_argument("--expect-revision", metavar="N", help="refuse if the rollout is at another revision")


def _add_steps(parser: ArgumentParser) -> None:
    parser.add_argument("--phase", required=True, help="1 to 4, or the name of its flag")
    parser.add_argument("--percent", required=True, nargs="+", help="one percentage, or several in rising order")
    parser.add_argument("--at", nargs="+", default=[], help="a time for each: 2026-12-01T09:00+03:00, or from now: 12h")
    parser.add_argument("--when-gates-pass", action="store_true", help="take each as soon as its gates pass after --at")
    parser.add_argument("--hours", help="only in these hours of the day: 9-18")


def _add_phase_and_percent(parser: ArgumentParser) -> None:
    parser.add_argument("--phase", required=True, help="1 to 4, or the name of its flag")
    parser.add_argument("--percent", required=True, help="0 to 100, up to two decimals; phases 1 and 2: 0 or 100")


@contextmanager
def refusals_as_errors(output: OutputWrapper) -> Iterator[None]:
    """Within the block, turn the refusal of a change into a CommandError.

    The exit code is 4 if the change needs approval, and 3 if it is stored but no synchronous standby has confirmed it.
    """
    try:
        yield
    except ApprovalNeeded as needed:
        output.write(needed.notice)
        raise CommandError(str(needed), returncode=4) from None
    except ChangeRefused as refused:
        raise CommandError(str(refused)) from None
    except CommitNotConfirmed:
        raise CommandError(f"{HERE_ONLY} Check it with “rollout history”.", returncode=3) from None


def add_terms(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", default="", help="reason of the change, kept in the audit log")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and write nothing")
    parser.add_argument("--by", default=None, help="who makes the change [the user of this shell]")


def request_of(action: Action, options: Mapping[str, Any], **params: Any) -> ChangeRequest:
    """Return the change request for a command's options."""
    return ChangeRequest.of(
        action,
        Source.COMMAND,
        by=options.get("by") or shell_user.login(),
        reason=options["reason"],
        expected_revision=options.get("expect_revision"),
        is_dry_run=options["dry_run"],
        is_forced=options.get("force", False),
        **params,
    )


def decider_of(login: str | None) -> approvals.Decider:
    """Return the account that decides on a request for approval: ``login`` or, if None, the account of the shell user.

    Ask for the account's password, because anybody could enter another user's name. Raise CommandError if the password
    is wrong.
    """
    name = login or shell_user.login()
    users = get_user_model().objects
    user = users.filter(**{get_user_model().USERNAME_FIELD: name}, is_active=True).first()
    prompt = f"Password of {name}: "
    password = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if user is None or not user.check_password(password):
        raise CommandError(f"Wrong password of {name}, or no such account: give yours with --by")
    return approvals.Decider.of(user)


def moment(text: str) -> datetime:
    """Parse a date and time, or a duration from now, as a UTC datetime; raise CommandError if it is in the past."""
    try:
        at = parse_datetime(text) or timezone.now() + parse_duration(text)
        # astimezone() raises OverflowError for a moment outside the years 1 to 9999 in UTC.
        at = (at if at.tzinfo else timezone.make_aware(at)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise CommandError(f"Neither a moment nor a duration: {text[:50]}") from None
    if at <= timezone.now():
        raise CommandError(f"This moment is in the past: {text[:50]}")
    return at
