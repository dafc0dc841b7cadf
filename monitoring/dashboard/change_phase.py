"""Changing the rollout: a preview of who is affected, then the reason, then the change."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib.messages import localize
from employees.admin import admin_scope
from monitoring.dashboard.access import FORCE, OPERATE, SEE_ROLLOUT, may, page, screen
from monitoring.dashboard.phases import conditions
from monitoring.rollout_control import gates, preview
from profiles.rollout import changes, presenters, rules
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.models import Action, Rollout
from profiles.rollout.phases import PHASES, TITLES
from profiles.rollout.rollout_settings import ChangeResult, RolloutSettings
from profiles.rollout.rules import ChangeRefused

PEOPLE_SHOWN = 10

TITLES_OF: dict[Action, Promise] = {Action.PAUSE: gettext_lazy("Pause"), Action.RESUME: gettext_lazy("Resume")}


def request_of(request: HttpRequest, action: Action, **what: Any) -> ChangeRequest:
    """Return the change that a form asks for, by the user and on the terms that it was posted with."""
    return ChangeRequest.of(
        action,
        Source.ADMIN,
        by=request.user.get_username(),
        expected_revision=request.POST.get("revision"),
        is_forced="force" in request.POST and request.user.has_perm(FORCE),
        **{"reason": request.POST.get("reason", "")} | what,
    )


def preview_of(action: Action, **what: Any) -> ChangeResult:
    """Return what a change would do now, before anybody gave a reason."""
    return changes.preview(ChangeRequest.of(action, Source.ADMIN, by="preview", reason=_("preview"), **what))


@screen(OPERATE)
def step(request: HttpRequest, phase: int) -> HttpResponse:
    """Set one phase to a percentage."""
    name, wanted = _phase(phase), request.POST.get("percent") or request.GET.get("percent") or ""
    refusal = ""
    if request.method == "POST":
        try:
            return _done(request, request_of(request, Action.SET, phase=name, percent=wanted))
        except ChangeRefused as refused:
            refusal = str(refused)
    rollout = Rollout.current()
    title = _("Phase %(n)d · %(title)s") % {"n": phase, "title": TITLES[phase - 1]}
    current = localize(rules.format_percent(RolloutSettings.read(rollout).percents[name]))
    context = {"phase": phase, "current": current, "wanted": wanted, "told": localize(wanted), "steps": _steps(phase)}
    return page(
        request, "step.html", title, refusal=refusal, rollout=rollout, may=may(request), **_given(request), **context
    )


def _phase(phase: int) -> str:
    if not 1 <= phase <= len(PHASES):
        raise Http404
    return PHASES[phase - 1]


def _steps(phase: int) -> list[str]:
    return ["0", *map(rules.format_percent, rules.STEPS)] if phase >= 3 else ["0", "100"]


def _given(request: HttpRequest) -> dict[str, Any]:
    return {"reason": request.POST.get("reason", ""), "is_forced": "force" in request.POST}


@screen(SEE_ROLLOUT)
def step_preview(request: HttpRequest, phase: int) -> HttpResponse:
    """Say who would change path, and what the gates say; asked for by the page once it is shown."""
    name = _phase(phase)
    try:
        target = rules.percentage(request.GET.get("percent", ""))
        planned = preview_of(Action.SET, phase=name, percent=target)
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
        "lines": presenters.outcome(planned),
        "conditions": conditions(judged) if judged else [],
        "is_held": bool(judged and judged.failing),
        "calls": round(seen.api_calls_per_day),
        "may": may(request),
    }
    return TemplateResponse(request, "admin/screens/step_preview.html", context)


@screen(OPERATE)
def act(request: HttpRequest, action: str) -> HttpResponse:
    """Pause or resume: what it would change, the reason, and a button."""
    if action not in TITLES_OF:
        raise Http404
    chosen, refusal = Action(action), ""
    if request.method == "POST":
        try:
            return _done(request, request_of(request, chosen))
        except ChangeRefused as refused:
            refusal = str(refused)
    planned = preview_of(chosen)
    lines = [] if chosen == Action.PAUSE else presenters.outcome(planned)
    context = {"action": action, "lines": lines, "is_change": planned.is_change, "rollout": Rollout.current()}
    return page(request, "act.html", TITLES_OF[chosen], refusal=refusal, **_given(request), **context)


def _done(request: HttpRequest, change: ChangeRequest) -> HttpResponse:
    outcome = changes.apply(change)
    messages.success(request, "; ".join([*presenters.outcome(outcome), _("revision %d") % outcome.revision]))
    return HttpResponseRedirect(reverse("screens:rollout"))
