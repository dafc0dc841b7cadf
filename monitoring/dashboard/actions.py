"""The pages of the operator's actions: pause, resume, plans, reaction to breaches, rehearsal, emergency stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib.messages import Message
from config.lib.scope import refusal, requires_global_scope
from employees.accounts import UserScope
from employees.admin import admin_scope
from employees.models import University
from monitoring.dashboard.access import page, screen
from monitoring.dashboard.change_phase import apply, preview_of, request_of
from monitoring.rollout_control import OPERATE, STOP, rollback
from monitoring.rollout_control.rollback import NotVerified
from profiles.rollout import changes, presenters, rules
from profiles.rollout.models import Action, OnBreach, Rollout
from profiles.rollout.phases import TITLES
from profiles.rollout.rules import ChangeRefused

T = gettext_lazy
# A step planned further ahead than this is probably a typing error, which nobody would notice for a year.
FARTHEST = timedelta(days=366)


WHOLE_ROLLOUT = T(
    "Your account is limited to one university, but this changes the rollout for all of them. You can change the rules "
    "of your university, rehearse its rollback and, in an emergency, stop the rollout."
)


class PlanForm(forms.Form):
    # Phase and percentage are plain text: the rules refuse invalid values, with the same message as elsewhere.
    phase = forms.CharField(label=T("Phase"), required=False, widget=forms.Select)
    percent = forms.CharField(
        label=T("New percentage"), required=False, widget=forms.TextInput({"inputmode": "decimal"})
    )
    due_at = forms.DateTimeField(widget=forms.DateTimeInput({"type": "datetime-local"}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["phase"].widget.choices = [(n, f"{n} · {title}") for n, title in enumerate(TITLES, 1)]
        self.initial["phase"] = rules.phase_number(changes.next_phase())
        # The browser's date field does not show its time zone.
        now = date_format(timezone.localtime(), "H:i T")
        self.fields["due_at"].label = _("Date and time (now it is %(now)s)") % {"now": now}

    def clean_due_at(self) -> datetime:
        due_at, now = self.cleaned_data["due_at"], timezone.now()
        if due_at <= now:
            raise forms.ValidationError(_("Choose a moment in the future."))
        if due_at > now + FARTHEST:
            raise forms.ValidationError(_("A step can be planned at most one year ahead."))
        return due_at  # type: ignore[no-any-return]


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
    changes.apply(change)
    step = presenters.planned_step(rules.phase_number(change.phase), change.percent, values["due_at"])
    return _("Planned: %(step)s") % {"step": step}


def _rehearse(request: HttpRequest, values: dict[str, Any]) -> str:
    facts = rollback.rehearse(values["university"].pk, request_of(request, Action.REHEARSAL))
    return presenters.rehearsal(values["university"], facts)


@dataclass(frozen=True, slots=True)
class ActionPage:
    """A page that explains an action, with its form and button; ``run`` performs it and returns a success message."""

    title: Promise
    meaning: Promise
    button: Promise
    run: Callable[[HttpRequest, dict[str, Any]], str]
    form: type[forms.Form] = forms.Form


ACTIONS = {
    "pause": ActionPage(
        T("Pause"),
        T(
            "Advances, planned steps and automatic steps stop. The percentages stay, and whoever is served by the "
            "cache goes on being served by it."
        ),
        T("Pause"),
        lambda request, values: apply(request, Action.PAUSE),
    ),
    "resume": ActionPage(
        T("Resume"),
        T("Steps are possible again. After an emergency stop, phase 3 starts again at 1%."),
        T("Resume"),
        lambda request, values: apply(request, Action.RESUME),
    ),
    "plan": ActionPage(
        T("Plan a step"),
        T("The gates are checked again when the step is due. Any other change of the rollout before that drops it."),
        T("Plan the step"),
        _plan,
        PlanForm,
    ),
    "on-breach": ActionPage(
        T("On a breach"),
        T("The controller checks the gates while a phase is on. After three breaches in a row it acts as chosen here."),
        T("Save"),
        lambda request, values: apply(request, Action.ON_BREACH, **values),
        BreachForm,
    ),
    "rehearsal": ActionPage(
        T("Rehearse the rollback"),
        T("One university leaves the cache and comes back; this takes a few seconds. Phase 3 requires a rehearsal."),
        T("Rehearse now"),
        _rehearse,
        RehearsalForm,
    ),
}


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
        except (ChangeRefused, NotVerified) as refused:
            form.add_error(None, str(refused))
    for field in form.fields.values():
        field.widget.attrs["class"] = "s-input"
    context = {"action": action, "form": form, "reason": request.POST.get("reason", ""), "rollout": Rollout.current()}
    if name in ("pause", "resume"):
        result = preview_of(Action(name))
        context["is_needless"] = not result.is_change
        context["lines"] = presenters.outcome(result) if name == "resume" and result.is_change else []
    return page(request, "action.html", action.title, **context)


@screen(OPERATE)
@requires_global_scope
def cancel_plan(request: HttpRequest, pk: int) -> HttpResponse:
    """Cancel a planned step by POST; a GET, such as the redirect after a log-in, only opens the rollout page."""
    if request.method != "POST":
        return HttpResponseRedirect(reverse("screens:rollout"))
    reason = request.POST.get("reason", "").strip() or Message("Cancelled without a reason")
    try:
        changes.apply(request_of(request, Action.CANCEL, plan=pk, reason=reason))
        messages.success(request, _("The planned step is cancelled."))
    except ChangeRefused as refused:
        messages.error(request, str(refused))
    return HttpResponseRedirect(reverse("screens:rollout"))


def confirmation() -> str:
    """Return the word that the operator types to confirm an emergency stop, in the operator's language."""
    return _("STOP")


@screen(STOP)
def emergency_stop(request: HttpRequest) -> HttpResponse:
    """Show the emergency page; once the word is typed, stop, verify the stop, and show the results and times."""
    context: dict[str, Any] = {"word": confirmation(), "reason": request.POST.get("reason", "")}
    if request.method == "POST" and request.POST.get("word", "").strip().casefold() != confirmation().casefold():
        context["refusal"] = _("Type the word to confirm.")
    elif request.method == "POST":
        try:
            started = time.perf_counter()
            result = changes.apply(request_of(request, Action.EMERGENCY))
            context |= {"took": time.perf_counter() - started, "lines": presenters.outcome(result)}
            try:
                for proof in rollback.verify("emergency"):
                    context["lines"].append(proof)
            except NotVerified as doubt:
                context["doubt"] = str(doubt)
            context["took_verified"] = time.perf_counter() - started
            return page(request, "stopped.html", _("Emergency stop"), **context)
        except ChangeRefused as refused:
            context["refusal"] = str(refused)
    result = preview_of(Action.EMERGENCY)
    context |= {"lines": presenters.outcome(result), "is_change": result.is_change}
    return page(request, "emergency.html", _("Emergency stop"), **context)
