"""What else an operator does to the rollout: plan a step, choose what a breach does, rehearse the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib.messages import Message, localize
from employees.accounts import UserScope
from employees.admin import admin_scope
from employees.models import University
from monitoring.dashboard.access import OPERATE, page, screen
from monitoring.dashboard.change_phase import request_of
from monitoring.rollout_control import rollback
from monitoring.rollout_control.rollback import NotVerified
from profiles.rollout import changes, rules
from profiles.rollout.models import Action, OnBreach, Rollout
from profiles.rollout.phases import TITLES
from profiles.rollout.rules import ChangeRefused

T = gettext_lazy
# A later step is a slip of the pen, and would wait unseen.
FARTHEST = timedelta(days=366)


class PlanForm(forms.Form):
    # Read by the rules, which refuse in the words of every other surface.
    phase = forms.CharField(label=T("Phase"), required=False, widget=forms.Select)
    percent = forms.CharField(label=T("To, percent"), required=False, widget=forms.TextInput({"inputmode": "decimal"}))
    due_at = forms.DateTimeField(widget=forms.DateTimeInput({"type": "datetime-local"}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["phase"].widget.choices = [(n, f"{n} · {title}") for n, title in enumerate(TITLES, 1)]
        self.initial["phase"] = rules.phase_number(changes.next_phase())
        # The browser's field names no zone.
        now = date_format(timezone.localtime(), "H:i T")
        self.fields["due_at"].label = _("When, by the clock of the system: it is %(now)s now") % {"now": now}

    def clean_due_at(self) -> Any:
        due_at, now = self.cleaned_data["due_at"], timezone.now()
        if due_at <= now:
            raise forms.ValidationError(_("This moment is over"))
        if due_at > now + FARTHEST:
            raise forms.ValidationError(_("A step is planned for a year ahead at most"))
        return due_at


class BreachForm(forms.Form):
    on_breach = forms.ChoiceField(label=T("Three breaches in a row"), choices=OnBreach.choices)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["on_breach"] = Rollout.current().on_breach


class RehearsalForm(forms.Form):
    university = forms.ModelChoiceField(
        University.objects.order_by("name"), label=T("University"), empty_label=T("Choose a university")
    )

    def limit(self, limits: UserScope) -> None:
        self.fields["university"].queryset = limits.universities().order_by("name")  # type: ignore[attr-defined]


def _plan(request: HttpRequest, given: dict[str, Any]) -> str:
    change = request_of(request, Action.PLAN, **given)
    changes.apply(change)
    words = {
        "phase": rules.phase_number(change.phase),
        "percent": localize(rules.format_percent(change.percent)),
        "at": date_format(timezone.localtime(given["due_at"]), "j E Y, H:i T"),
    }
    return _("Planned: phase %(phase)d to %(percent)s %% on %(at)s") % words


def _choose(request: HttpRequest, given: dict[str, Any]) -> str:
    changes.apply(request_of(request, Action.ON_BREACH, **given))
    return _("On three breaches in a row: %s") % OnBreach(given["on_breach"]).label


def _rehearse(request: HttpRequest, given: dict[str, Any]) -> str:
    facts = rollback.rehearse(given["university"].pk, request_of(request, Action.REHEARSAL))
    words = {
        "university": given["university"],
        "out": number_format(facts["out_s"], 1),
        "total": number_format(facts["total_s"], 1),
    }
    return _("%(university)s was out of the cache after %(out)s s, and back after %(total)s s") % words


@dataclass(frozen=True, slots=True)
class Deed:
    title: Promise
    meaning: Promise
    button: Promise
    form: type[forms.Form]
    act: Callable[[HttpRequest, dict[str, Any]], str]


ACTIONS = {
    "plan": Deed(
        T("Plan a step"),
        T("The gates are asked again when it is due; it is dropped if anything else changes the rollout before."),
        T("Plan it"),
        PlanForm,
        _plan,
    ),
    "on-breach": Deed(
        T("On a breach"),
        T("The conductor watches the gates while a phase is on. Three breaches in a row pause it, or take it back."),
        T("Choose"),
        BreachForm,
        _choose,
    ),
    "rehearsal": Deed(
        T("Rehearse the way back"),
        T("One university is taken out of the cache and let in again, timed; that takes seconds. Phase 3 asks for it."),
        T("Rehearse now"),
        RehearsalForm,
        _rehearse,
    ),
}


@screen(OPERATE)
def deed(request: HttpRequest, name: str) -> HttpResponse:
    chosen = ACTIONS[name]
    form = chosen.form(request.POST or None)
    limits = admin_scope(request)
    if limits and isinstance(form, RehearsalForm):
        form.limit(limits)
    if request.method == "POST" and form.is_valid():
        try:
            messages.success(request, chosen.act(request, form.cleaned_data))
            return HttpResponseRedirect(reverse("screens:rollout"))
        except (ChangeRefused, NotVerified) as refused:
            form.add_error(None, str(refused))
    for field in form.fields.values():
        field.widget.attrs["class"] = "s-input"
    context = {"deed": chosen, "form": form, "reason": request.POST.get("reason", ""), "rollout": Rollout.current()}
    return page(request, "deed.html", chosen.title, **context)


@screen(OPERATE)
def cancel_plan(request: HttpRequest, pk: int) -> HttpResponse:
    """Cancel by POST alone; who comes by a link, as after a log-in, sees the steps and their buttons."""
    if request.method != "POST":
        return HttpResponseRedirect(reverse("screens:rollout"))
    reason = request.POST.get("reason", "").strip() or Message("Cancelled without a reason")
    try:
        changes.apply(request_of(request, Action.CANCEL, plan=pk, reason=reason))
        messages.success(request, _("The planned step is cancelled."))
    except ChangeRefused as refused:
        messages.error(request, str(refused))
    return HttpResponseRedirect(reverse("screens:rollout"))
