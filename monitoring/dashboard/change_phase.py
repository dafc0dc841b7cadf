"""The page that changes a phase's percentage: preview who is affected, enter a reason, confirm."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from config.lib.scope import requires_global_scope, scope_of
from employees.admin import admin_scope
from monitoring.dashboard.access import may, page, screen
from monitoring.rollout_control import FORCE, OPERATE, SEE_ROLLOUT, gates, preview
from monitoring.rollout_control.presenters import conditions
from profiles.rollout import changes, presenters, rules
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.models import Action, Rollout
from profiles.rollout.phases import PHASES
from profiles.rollout.rollout_settings import ChangeResult, RolloutSettings
from profiles.rollout.rules import ChangeRefused

PEOPLE_SHOWN = 10


def request_of(request: HttpRequest, action: Action, **params: Any) -> ChangeRequest:
    """Return the change request for a posted form; ``params`` take precedence over the form."""
    return ChangeRequest.of(
        action,
        Source.ADMIN,
        by=request.user.get_username(),
        expected_revision=request.POST.get("revision"),
        is_forced="force" in request.POST and request.user.has_perm(FORCE),
        universities=scope_of(request).university_ids(),
        **{"reason": request.POST.get("reason", "")} | params,
    )


def preview_of(action: Action, **params: Any) -> ChangeResult:
    """Return what a change would do now, before the operator has entered a reason."""
    return changes.preview(ChangeRequest.of(action, Source.ADMIN, by="preview", reason=_("preview"), **params))


def apply(request: HttpRequest, action: Action, **params: Any) -> str:
    """Apply the change of a posted form and return the message for the operator."""
    result = changes.apply(request_of(request, action, **params))
    return "; ".join([*presenters.outcome(result), _("revision %d") % result.revision])


@screen(OPERATE)
@requires_global_scope
def step(request: HttpRequest, phase: int) -> HttpResponse:
    name, percent = _phase(phase), request.POST.get("percent") or request.GET.get("percent") or ""
    refusal = ""
    if request.method == "POST":
        try:
            messages.success(request, apply(request, Action.SET, phase=name, percent=percent))
            return HttpResponseRedirect(reverse("screens:rollout"))
        except ChangeRefused as refused:
            refusal = str(refused)
    rollout = Rollout.current()
    context = {
        "phase": phase,
        "current": presenters.percentage(RolloutSettings.read(rollout).percents[name]),
        "percent": percent,
        "target": presenters.percentage(percent),
        "steps": ["0", *map(rules.format_percent, rules.STEPS)] if phase >= 3 else ["0", "100"],
        "refusal": refusal,
        "rollout": rollout,
        "may": may(request),
        "reason": request.POST.get("reason", ""),
        "is_forced": "force" in request.POST,
    }
    return page(request, "step.html", presenters.name_of(name), **context)


def _phase(phase: int) -> str:
    if not 1 <= phase <= len(PHASES):
        raise Http404
    return PHASES[phase - 1]


@screen(SEE_ROLLOUT)
def step_preview(request: HttpRequest, phase: int) -> HttpResponse:
    """Show which employees would enter or leave the phase, and the gate results; the page loads this separately."""
    name = _phase(phase)
    try:
        target = rules.percentage(request.GET.get("percent", ""))
        result = preview_of(Action.SET, phase=name, percent=target)
    except ChangeRefused as refused:
        return TemplateResponse(request, "admin/screens/step_preview.html", {"refusal": str(refused)})
    # Users who are limited to universities see no names, and no counts of other universities.
    scope = admin_scope(request)
    counts = preview.preview(name, phase, target, 0 if scope else PEOPLE_SHOWN, may_be_cached=True)
    if scope:
        counts = counts.only_of(set(scope.universities().values_list("pk", flat=True)))
    evaluation = gates.evaluate(phase, target) if target > counts.current else None
    context = {
        "preview": counts,
        "is_limited": scope is not None,
        "is_raise": evaluation is not None,
        "is_change": result.is_change,
        "lines": presenters.outcome(result),
        "conditions": conditions(evaluation) if evaluation else [],
        "is_held": bool(evaluation and evaluation.failing),
        "calls": round(counts.api_calls_per_day),
    }
    return TemplateResponse(request, "admin/screens/step_preview.html", context)
