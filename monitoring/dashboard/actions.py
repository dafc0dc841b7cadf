"""The pages of the operator's actions: steps of a phase, pause, resume, plans, rehearsal, emergency stop and so on."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib import times
from config.lib.messages import Message
from config.lib.scope import refusal, requires_global_scope, scope_of
from employees.accounts import UserScope
from employees.admin import admin_scope
from employees.models import University
from monitoring.dashboard import held
from monitoring.dashboard.access import may, page, screen
from monitoring.rollout_control import FORCE, OPERATE, SEE_ROLLOUT, STOP, controller, gates, preview, rollback
from monitoring.rollout_control.presenters import conditions
from monitoring.rollout_control.rollback import NotVerified
from profiles.rollout import changes, plans, presenters, rules
from profiles.rollout.approvals import APPROVAL_NEEDED, ApprovalNeeded
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.models import Action, OnBreach, Rollout
from profiles.rollout.monitored_period import last_raise
from profiles.rollout.phases import PHASES, TITLES
from profiles.rollout.presenters import audit_rows
from profiles.rollout.presenters.effects import effect
from profiles.rollout.rollout_settings import ChangeResult, RolloutSettings
from profiles.rollout.rules import ChangeRefused, RolloutHeld

T = gettext_lazy
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
        account=request.user.pk,
        **{"reason": request.POST.get("reason", "")} | params,
    )


def preview_of(action: Action, **params: Any) -> ChangeResult:
    """Return what a change would do now, before the operator has entered a reason."""
    return changes.preview(ChangeRequest.of(action, Source.ADMIN, by="preview", reason=_("preview"), **params))


def apply(request: HttpRequest, action: Action, **params: Any) -> str:
    """Apply the change of a posted form and return the message for the operator."""
    result = changes.apply(request_of(request, action, **params))
    return "; ".join([*presenters.outcome(result), _("revision %d") % result.revision])


def waits_for_approval(request: HttpRequest, needed: ApprovalNeeded) -> HttpResponse:
    messages.warning(request, f"{needed} {needed.notice}")
    return HttpResponseRedirect(reverse("screens:rollout"))


WHOLE_ROLLOUT = T(
    "Your account is limited to one university, but this action changes the rollout for all universities. You can"
    " change the rules of your university, rehearse its rollback and, in an emergency, stop the rollout."
)


# A plan has at most as many steps as a phase.
_SUFFIXES = ("", *(f"_{number}" for number in range(2, len(rules.STEPS) + 1)))


class PlanForm(forms.Form):
    """The form for the steps of a plan: ``percent`` and ``due_at``, ``percent_2`` and ``due_at_2``, and so on."""

    # Phase and percentages are plain text: the rules refuse invalid values, with the same message as elsewhere.
    phase = forms.CharField(label=T("Phase"), required=False, widget=forms.Select)
    waits_for_gates = forms.BooleanField(
        label=T("Take each step as soon as its gates pass, but not before its planned time"), required=False
    )
    hours = forms.CharField(label=T("Only in these hours of the day, such as 9-18"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["phase"].widget.choices = [(n, f"{n} · {title}") for n, title in enumerate(TITLES, 1)]
        self.initial["phase"] = rules.phase_number(changes.next_phase())
        # The current time shows the time zone, which the browser's date field does not.
        due_at = _("Date and time (it is now %(now)s)") % {"now": times.clock(timezone.now())}
        for name in _SUFFIXES:
            widget = forms.DateTimeInput({"type": "datetime-local"})
            self.fields[f"percent{name}"] = forms.CharField(
                label=_("New percentage"), required=False, widget=forms.TextInput({"inputmode": "decimal"})
            )
            self.fields[f"due_at{name}"] = forms.DateTimeField(label=due_at, required=False, widget=widget)

    def rows(self) -> list[tuple[forms.BoundField, forms.BoundField]]:
        return [(self[f"percent{name}"], self[f"due_at{name}"]) for name in _SUFFIXES]

    def clean_hours(self) -> tuple[int, int] | None:
        return rules.hours(self.cleaned_data["hours"])

    def clean(self) -> dict[str, Any]:
        """Return the arguments of a change request: phase, hours, whether to wait for gates, and the steps in order."""
        given: dict[str, Any] = super().clean() or {}
        steps: list[tuple[str, datetime]] = []
        # A step that waits for its gates may be due at once; a second later, it is not in the past when it is checked.
        last = timezone.now() + timedelta(seconds=1) if given.get("waits_for_gates") else None
        for name in _SUFFIXES:
            percent, due_at = given.get(f"percent{name}", ""), given.get(f"due_at{name}") or last
            if name and not percent and not given.get(f"due_at{name}"):
                continue
            if due_at is None and f"due_at{name}" not in self.errors:
                self.add_error(f"due_at{name}", _("Choose a time in the future."))
            elif due_at is not None:
                try:
                    steps.append((percent, plans.check_moment(due_at)))
                except ChangeRefused as refused:
                    self.add_error(f"due_at{name}", str(refused))
            last = due_at if given.get("waits_for_gates") else None
        return {name: given.get(name) for name in ("phase", "waits_for_gates", "hours")} | {"steps": steps}


class BreachForm(forms.Form):
    on_breach = forms.ChoiceField(label=T("After three breaches in a row"), choices=OnBreach.choices)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["on_breach"] = Rollout.current().on_breach


class RehearsalForm(forms.Form):
    university = forms.ModelChoiceField(
        University.objects.order_by("name"), label=T("University"), empty_label=T("Choose a university")
    )

    def limit(self, limits: UserScope) -> None:
        self.fields["university"].queryset = limits.universities().order_by("name")  # type: ignore[attr-defined]


def _plan(request: HttpRequest, values: dict[str, Any]) -> str:
    change = request_of(request, Action.PLAN, **values)
    steps = plans.steps_of(change, changes.apply(change).revision)
    return _("Planned: %(step)s") % {"step": audit_rows.plan(plans.as_json(steps))}


def _rehearse(request: HttpRequest, values: dict[str, Any]) -> str:
    facts = rollback.rehearse(values["university"].pk, request_of(request, Action.REHEARSAL))
    return audit_rows.rehearsal(values["university"], facts)


@dataclass(frozen=True, slots=True)
class ActionPage:
    """A page that explains an action, with its form and button; ``run`` performs it and returns a success message."""

    title: Promise
    meaning: Promise
    button: Promise
    run: Callable[[HttpRequest, dict[str, Any]], str]
    form: type[forms.Form] = forms.Form
    template: str = "action.html"


ACTIONS = {
    "pause": ActionPage(
        T("Pause"),
        T(
            "No manual, planned or automatic steps are taken until the rollout is resumed. The percentages do not"
            " change: names that come from the cache continue to come from it."
        ),
        T("Pause"),
        lambda request, values: apply(request, Action.PAUSE),
    ),
    "resume": ActionPage(
        T("Resume"),
        T(
            "Steps are possible again, and a new monitored period starts: earlier breaches and comparisons no longer "
            "count. After an emergency stop, phase 3 starts again at 1%."
        ),
        T("Resume"),
        lambda request, values: apply(request, Action.RESUME),
    ),
    "plan": ActionPage(
        T("Plan steps"),
        T(
            "When a step is due, its gates, your permissions and, where required, the approval of a second person are "
            "checked. A pause, an emergency stop or any other change of the rollout cancels the plan."
        ),
        T("Plan the steps"),
        _plan,
        PlanForm,
        "plan.html",
    ),
    "on-breach": ActionPage(
        T("On a breach"),
        T(
            "While a phase is on, the rollout controller checks that no limit is exceeded. After three breaches in a"
            " row, it does what you choose here."
        ),
        T("Save"),
        lambda request, values: apply(request, Action.ON_BREACH, **values),
        BreachForm,
    ),
    "rehearsal": ActionPage(
        T("Rehearse the rollback"),
        T(
            "One university is moved to the direct API and back; this takes a few seconds. Phase 3 requires this"
            " rehearsal."
        ),
        T("Rehearse now"),
        _rehearse,
        RehearsalForm,
    ),
}


@screen(OPERATE)
@requires_global_scope
def step(request: HttpRequest, phase: int) -> HttpResponse:
    name, percent = _phase(phase), request.POST.get("percent") or request.GET.get("percent") or ""
    refusal = ""
    if request.method == "POST":
        try:
            messages.success(request, apply(request, Action.SET, phase=name, percent=percent))
            return HttpResponseRedirect(reverse("screens:rollout"))
        except ApprovalNeeded as needed:
            return waits_for_approval(request, needed)
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
    """Show, as a fragment of the step page, which employees would enter or leave the phase, and the gate results."""
    name = _phase(phase)
    refusal, lines, needs_approval = "", [], False
    try:
        target = rules.percentage(request.GET.get("percent", ""))
        result = preview_of(Action.SET, phase=name, percent=target)
        lines, needs_approval = presenters.outcome(replace(result, needs_approval=False)), result.needs_approval
    except RolloutHeld as refused:
        # Show the preview and the gates although the step is refused: operators decide by them whether to resume.
        refusal = str(refused)
    except ChangeRefused as refused:
        return TemplateResponse(request, "admin/screens/step_preview.html", {"refusal": str(refused)})
    # Users who are limited to universities see no names, and no counts of other universities.
    scope = admin_scope(request)
    counts = preview.preview(name, phase, target, 0 if scope else PEOPLE_SHOWN, may_be_cached=True)
    if scope:
        counts = counts.only_of(set(scope.universities().values_list("pk", flat=True)))
    evaluation = gates.evaluate(phase, target) if target > counts.current else None
    meaning, label = effect(phase, is_raise=evaluation is not None)
    may_see = scope_of(request).university_ids()
    context = {
        "preview": counts,
        "refusal": refusal,
        "approval_needed": APPROVAL_NEEDED if needs_approval else "",
        "is_held_back": bool(refusal),
        "may": may(request),
        "meaning": meaning,
        "label": label,
        "is_limited": scope is not None,
        "is_raise": evaluation is not None,
        "is_change": target != counts.current,
        "lines": lines,
        "conditions": conditions(evaluation, with_history=True, may_see=may_see) if evaluation else [],
        "is_failing": bool(evaluation and evaluation.failing),
        # A forced step that waits for approval is taken despite its gates.
        "is_forced": "forced" in request.GET,
        "calls": round(counts.api_calls_per_day),
    }
    return TemplateResponse(request, "admin/screens/step_preview.html", context)


def _style(form: forms.Form) -> None:
    for field in form.fields.values():
        if not isinstance(field.widget, forms.CheckboxInput):
            field.widget.attrs["class"] = "s-input"


@screen(OPERATE)
def act(request: HttpRequest, name: str) -> HttpResponse:
    action = ACTIONS[name]
    form = action.form(request.POST if request.method == "POST" else None)
    limits = admin_scope(request)
    if limits and name != "rehearsal":
        return refusal(request, WHOLE_ROLLOUT)
    if limits and isinstance(form, RehearsalForm):
        form.limit(limits)
    if request.method == "POST" and form.is_valid():
        try:
            messages.success(request, action.run(request, form.cleaned_data))
            return HttpResponseRedirect(reverse("screens:rollout"))
        except ApprovalNeeded as needed:
            return waits_for_approval(request, needed)
        except (ChangeRefused, NotVerified) as refused:
            form.add_error(None, str(refused))
    _style(form)
    context = {"action": action, "form": form, "reason": request.POST.get("reason", ""), "rollout": Rollout.current()}
    if name in ("pause", "resume"):
        result = preview_of(Action(name))
        context["is_needless"] = not result.is_change
        context["lines"] = presenters.outcome(result) if name == "resume" and result.is_change else []
    return page(request, action.template, action.title, **context)


@screen(OPERATE)
@requires_global_scope
def cancel_plan(request: HttpRequest, pk: int) -> HttpResponse:
    """Cancel a plan by POST; a GET, such as the redirect after a log-in, only opens the rollout page."""
    if request.method != "POST":
        return HttpResponseRedirect(reverse("screens:rollout"))
    reason = request.POST.get("reason", "").strip() or Message("Cancelled without a reason")
    try:
        changes.apply(request_of(request, Action.CANCEL, plan=pk, reason=reason))
        messages.success(request, _("The plan is cancelled."))
    except ChangeRefused as refused:
        messages.error(request, str(refused))
    return HttpResponseRedirect(reverse("screens:rollout"))


@screen(OPERATE)
@requires_global_scope
def check_gates(request: HttpRequest) -> HttpResponse:
    """Check the gates of the next step now, by POST, as the controller does once per interval.

    The tripwires are not checked: three breaches in a row pause the rollout, and the checks that find them must be an
    interval apart.
    """
    if request.method == "POST":
        messages.info(request, "; ".join(controller.check_next_step()) or _("There is no next step."))
    return HttpResponseRedirect(reverse("screens:rollout"))


def confirmation() -> str:
    """Return the word that the operator types to confirm an emergency stop, in the operator's language."""
    return _("STOP")


@screen(STOP)
def emergency_stop(request: HttpRequest) -> HttpResponse:
    """Show the emergency page; on POST with the confirmation word, stop, verify the stop, and show the results.

    Users who may not view the rollout see neither its values nor links to its page.
    """
    is_shown = request.user.has_perm(SEE_ROLLOUT)
    context: dict[str, Any] = {"word": confirmation(), "reason": request.POST.get("reason", ""), "is_shown": is_shown}
    if request.method == "POST" and request.POST.get("word", "").strip().casefold() != confirmation().casefold():
        context["refusal"] = _("Type the word to confirm.")
    elif request.method == "POST":
        try:
            context["named"] = held.named_since(request, last_raise()) if is_shown else ""
            return page(request, "stopped.html", _("Emergency stop"), **context | _stop(request, is_shown=is_shown))
        except ChangeRefused as refused:
            context["refusal"] = presenters.refusal(refused, is_shown=is_shown)
    result = preview_of(Action.EMERGENCY)
    context |= {"lines": presenters.outcome(result) if is_shown else [], "is_change": result.is_change}
    return page(request, "emergency.html", _("Emergency stop"), **context)


def _stop(request: HttpRequest, *, is_shown: bool) -> dict[str, Any]:
    """Stop the rollout; return the context for the page of results.

    ``took`` and ``took_verified`` are in seconds; ``lines`` state what changed and whether it is verified.
    """
    started = time.perf_counter()
    result = changes.apply(request_of(request, Action.EMERGENCY))
    took, durability = time.perf_counter() - started, presenters.durability(result)
    lines, doubt = presenters.outcome(result), "".join(durability)
    try:
        for proof in rollback.verify("emergency"):
            lines.append(proof)
    except NotVerified as failed:
        doubt = str(failed)
    if not is_shown:
        lines, doubt = ([], str(rollback.STOP_NOT_VERIFIED)) if doubt else ([str(rollback.STOP_VERIFIED)], "")
        lines += durability
    return {"took": took, "lines": lines, "doubt": doubt, "took_verified": time.perf_counter() - started}
