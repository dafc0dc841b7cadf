"""Changing the rollout: first what it would do to whom, then the reason, then the deed. The commands' functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from employees.admin import admin_scope
from monitoring import gates, preview, steering
from monitoring.screens import words
from monitoring.screens.access import FORCE, OPERATE, SEE_ROLLOUT, may, page, screen
from monitoring.screens.phases import TITLES, conditions
from profiles.rollout import changes, rules
from profiles.rollout.controls import Controls, Outcome
from profiles.rollout.models import PHASES, Rollout
from profiles.rollout.rules import ChangeRefused, Order
from profiles.rollout.sentences import Sentence, number

PEOPLE_SHOWN = 10

Act = Callable[[Order], Outcome]

ACTS: dict[str, tuple[Promise, Act]] = {
    "pause": (gettext_lazy("Pause"), changes.pause),
    "resume": (gettext_lazy("Resume"), changes.resume),
}


# As long as the column's longest; whatever is longer no page has filled in, and Python reads no number of any length.
_REVISION_DIGITS = 19


def order_of(request: HttpRequest, *, is_dry_run: bool = False) -> Order:
    """Return what the form orders; refuse one whose revision no page has filled in."""
    revision = request.POST.get("revision", "")
    if revision and not (revision.isdecimal() and len(revision) <= _REVISION_DIGITS):
        raise ChangeRefused(Sentence("The form was altered on its way: open the page anew"))
    return Order(
        request.user.get_username(),
        request.POST.get("reason", ""),
        int(revision) if revision else None,
        is_dry_run,
        is_forced="force" in request.POST and request.user.has_perm(FORCE),
    )


@screen(OPERATE)
def step(request: HttpRequest, phase: int) -> HttpResponse:
    """Set one phase to a percentage."""
    name, wanted = _phase(phase), request.POST.get("percent") or request.GET.get("percent") or ""
    refusal = ""
    if request.method == "POST":
        try:
            return _done(request, steering.set_percent(name, wanted, order_of(request)))
        except ChangeRefused as refused:
            refusal = str(refused)
    rollout = Rollout.current()
    title = _("Phase %(n)d · %(title)s") % {"n": phase, "title": TITLES[phase - 1]}
    current = number(rules.shown(Controls.read(rollout).percents[name]))
    context = {"phase": phase, "current": current, "wanted": wanted, "told": number(wanted), "steps": _steps(phase)}
    return page(
        request, "step.html", title, refusal=refusal, rollout=rollout, may=may(request), **_given(request), **context
    )


def _phase(phase: int) -> str:
    if not 1 <= phase <= len(PHASES):
        raise Http404
    return PHASES[phase - 1]


def _steps(phase: int) -> list[str]:
    return ["0", *map(rules.shown, rules.STEPS)] if phase >= 3 else ["0", "100"]


def _given(request: HttpRequest) -> dict[str, Any]:
    return {"reason": request.POST.get("reason", ""), "is_forced": "force" in request.POST}


@screen(SEE_ROLLOUT)
def step_preview(request: HttpRequest, phase: int) -> HttpResponse:
    """Say who would change path, and what the gates say; asked for by the page once it is shown."""
    name = _phase(phase)
    try:
        target = rules.percentage(request.GET.get("percent", ""))
        planned = changes.set_percent(name, target, Order("preview", _("preview"), is_dry_run=True))
    except ChangeRefused as refused:
        return TemplateResponse(request, "admin/screens/step_preview.html", {"refusal": str(refused)})
    # Names of people, and other universities, are for those who look after all of them.
    scope = admin_scope(request)
    seen = preview.preview(name, phase, target, 0 if scope else PEOPLE_SHOWN, is_kept_enough=True)
    if scope:
        seen = seen.only_of(set(scope.universities().values_list("pk", flat=True)))
    judged = gates.judge(phase, target) if target > seen.current else None
    context = {
        "seen": seen,
        "is_limited": scope is not None,
        "is_up": target > seen.current,
        "is_change": planned.is_change,
        "lines": words.outcome(planned),
        "conditions": conditions(judged) if judged else [],
        "is_held": bool(judged and judged.failing),
        "calls": round(seen.api_calls_per_day),
        "may": may(request),
    }
    return TemplateResponse(request, "admin/screens/step_preview.html", context)


@screen(OPERATE)
def act(request: HttpRequest, action: str) -> HttpResponse:
    """Pause or resume: what it would change, the reason, the deed."""
    if action not in ACTS:
        raise Http404
    title, deed = ACTS[action]
    refusal = ""
    if request.method == "POST":
        try:
            return _done(request, deed(order_of(request)))
        except ChangeRefused as refused:
            refusal = str(refused)
    planned = deed(Order("preview", _("preview"), is_dry_run=True))
    lines = [] if action == "pause" else words.outcome(planned)
    context = {"action": action, "lines": lines, "is_change": planned.is_change, "rollout": Rollout.current()}
    return page(request, "act.html", title, refusal=refusal, **_given(request), **context)


def _done(request: HttpRequest, outcome: Outcome) -> HttpResponse:
    messages.success(request, "; ".join([*words.outcome(outcome), _("revision %d") % outcome.revision]))
    return HttpResponseRedirect(reverse("screens:rollout"))
