"""The rollout's tables in the admin, plain; whatever is changed here is a ChangeRequest, as everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget
from waffle.models import Switch

from config.lib.admin import ReadOnlyAdmin, RenamedModelAdmin
from config.lib.audit_log import LoggedByCode
from config.lib.messages import Message
from employees.admin import admin_scope
from employees.models import University
from monitoring.dashboard import presenters
from monitoring.dashboard.access import FORCE
from monitoring.rollout_control.gate_titles import GATES
from monitoring.rollout_control.gates.results import GateResult
from monitoring.rollout_control.models import Verdict
from profiles.rollout import changes, rules
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.models import Action, Change, ChangeQuerySet, Flag, Plan, Rollout, UniversityRule
from profiles.rollout.phases import PHASES
from profiles.rollout.rules import ChangeRefused


class ReasonedForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form that tries the change before it is saved, so that what is refused is shown at the form."""

    request: ClassVar[HttpRequest]

    reason = forms.CharField(label=_("reason"), required=False, widget=UnfoldAdminTextInputWidget)
    expect_revision = forms.CharField(label=_("revision"), required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["expect_revision"].initial = Rollout.current().revision

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors:
            self.apply(is_dry_run=True)
        return cleaned

    def apply(self, *, is_dry_run: bool = False) -> None:
        """Apply what the form asks for, by its user and on the terms in it."""
        changes.apply(
            ChangeRequest.of(
                source=Source.FLAG_FORM,
                by=self.request.user.get_username(),
                reason=self.cleaned_data.get("reason") or "",
                expected_revision=self.cleaned_data.get("expect_revision"),
                is_dry_run=is_dry_run,
                is_forced=bool(self.cleaned_data.get("force")),
                **self.change(),
            )
        )

    def change(self) -> dict[str, Any]:
        """Return the action and what it is about."""
        raise NotImplementedError


class FlagForm(ReasonedForm):
    # Free text: the rules say what a percentage is, in their own words.
    percent = forms.CharField(label=_("percent"), required=False, widget=UnfoldAdminTextInputWidget)
    force = forms.BooleanField(label=_("past gates that do not pass"), required=False, widget=UnfoldBooleanWidget)
    expect_percent = forms.CharField(label=_("percent"), required=False, widget=forms.HiddenInput)

    class Meta:
        model = Flag
        fields = ("note",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["percent"] = self.initial["expect_percent"] = rules.shown(self.instance.percent)
        self.fields["force"].disabled = not self.request.user.has_perm(FORCE)

    def clean_percent(self) -> str:
        """Take the reader's decimal comma, which the model's own field would refuse."""
        return str(self.cleaned_data["percent"]).replace(",", ".")

    def change(self) -> dict[str, Any]:
        percent = self.cleaned_data["percent"]
        if self.instance.name in PHASES:
            return {"action": Action.SET, "phase": self.instance.name, "percent": percent}
        self._refuse_moved()
        return {"action": Action.FLAG, "flag": self.instance, "percent": percent}

    def _refuse_moved(self) -> None:
        """Compare the percentage too: the flag of another app moves without the revision."""
        expected, now = self.cleaned_data.get("expect_percent"), rules.shown(self.instance.percent)
        if expected and expected != now:
            words = {"now": now, "expected": expected[:10]}
            raise ChangeRefused(
                Message("Somebody else changed the flag: it is at %(now)s %%, not %(expected)s %%", words)
            )


class SwitchForm(ReasonedForm):
    class Meta:
        model = Switch
        fields = ("active",)

    def change(self) -> dict[str, Any]:
        return {"action": Action.SWITCH, "switch": self.instance.name, "is_on": self.cleaned_data["active"]}


class UniversityRuleForm(ReasonedForm):
    university_id = forms.TypedChoiceField(
        label=_("university"),
        coerce=int,
        widget=UnfoldAdminSelectWidget,
        error_messages={"invalid_choice": _("there is no such university")},
    )

    class Meta:
        model = UniversityRule
        fields = ("university_id", "phase", "is_allowed", "expires_at")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the universities by name; a rule that lost its university since may still be changed."""
        super().__init__(*args, **kwargs)
        limits = admin_scope(self.request)
        known = limits.universities() if limits else University.objects.all()
        names = dict(known.order_by("name").values_list("pk", "name"))
        if self.instance.pk:
            names.setdefault(self.instance.university_id, f"#{self.instance.university_id}")
        self.fields["university_id"].choices = [("", _("Choose a university")), *names.items()]  # type: ignore[attr-defined]

    def change(self) -> dict[str, Any]:
        # The instance gets what was given only after the form is found valid.
        for name in self.Meta.fields:
            setattr(self.instance, name, self.cleaned_data[name])
        return {"action": Action.SCOPE, "scope": self.instance}


class SteeredAdmin(LoggedByCode):
    """Saves by the change functions; a form class a request, because the form asks who it is."""

    @admin.display(description=_("name"), ordering="name")
    def named(self, steered: Flag | Switch) -> str:
        return presenters.with_code(steered.name)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show at the page what is refused although the form was valid: somebody was quicker."""
        return self._refusable(request, super().changeform_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._refusable(request, super().delete_view, *args, **kwargs)

    def _refusable(
        self, request: HttpRequest, view: Callable[..., HttpResponse], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except ChangeRefused as refused:
            self.message_user(request, str(refused), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"request": request})

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Flag)
class FlagAdmin(SteeredAdmin):
    form = FlagForm
    list_display = ("named", "percent", "everyone", "moved_at")
    fields = ("named", "percent", "reason", "force", "note", "shown_salt", "expect_revision", "expect_percent")
    readonly_fields: ClassVar = ["named", "shown_salt"]

    @admin.display(description=_("salt"))
    def shown_salt(self, flag: Flag) -> str:
        return format_html("<code>{}</code>", flag.salt)

    def save_model(self, request: HttpRequest, obj: Flag, form: Any, change: bool) -> None:
        Flag.objects.filter(pk=obj.pk).update(note=obj.note)
        form.apply()


@admin.register(Switch)
class SwitchAdmin(SteeredAdmin):
    form = SwitchForm
    list_display = ("named", "active", "modified")
    fields = ("named", "active", "reason", "expect_revision")
    readonly_fields: ClassVar = ["named"]

    def save_model(self, request: HttpRequest, obj: Switch, form: Any, change: bool) -> None:
        form.apply()


@admin.register(UniversityRule)
class UniversityRuleAdmin(RenamedModelAdmin, SteeredAdmin):
    form = UniversityRuleForm
    list_display = ("university_id", "phase", "is_allowed", "reason", "expires_at")
    fields = ("university_id", "phase", "is_allowed", "expires_at", "reason", "expect_revision")

    def get_queryset(self, request: HttpRequest) -> QuerySet[UniversityRule]:
        rules_of_all: QuerySet[UniversityRule] = super().get_queryset(request)
        limits = admin_scope(request)
        return rules_of_all.filter(university_id__in=limits.universities()) if limits else rules_of_all

    def save_model(self, request: HttpRequest, obj: UniversityRule, form: Any, change: bool) -> None:
        form.apply()

    def delete_model(self, request: HttpRequest, obj: UniversityRule) -> None:
        by, reason = request.user.get_username(), Message("Removed in the admin")
        changes.apply(ChangeRequest.of(Action.SCOPE, Source.ADMIN, by=by, reason=reason, scope=obj, is_on=False))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for scope in queryset:
            self.delete_model(request, scope)


@admin.register(Change)
class ChangeAdmin(ReadOnlyAdmin):
    list_display = ("revision", "at", "who", "action", "told", "is_forced")
    list_filter = ("action", "is_forced")
    search_fields = ("by", "reason")
    fields = ("revision", "at", "who", "what", "told", "is_forced", "judged", "stood", "stands")
    readonly_fields: ClassVar = ["who", "what", "told", "judged", "stood", "stands"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Change]:
        found: ChangeQuerySet = super().get_queryset(request)
        limits = admin_scope(request)
        return found.of_universities(limits.universities().values_list("pk", flat=True)) if limits else found

    @admin.display(description=_("by"), ordering="by")
    def who(self, change: Change) -> str:
        return presenters.actor(change.by)

    @admin.display(description=_("action"))
    def what(self, change: Change) -> str:
        return presenters.change(change)

    @admin.display(description=_("reason"), ordering="reason")
    def told(self, change: Change) -> str:
        return change.text

    @admin.display(description=_("evidence"))
    def judged(self, change: Change) -> str:
        told = (
            (GATES[item["gate"]], Verdict(item["verdict"]).label, GateResult.stored_message(item))
            for item in change.evidence
        )
        return format_html_join(mark_safe("<br>"), "{}: {} — {}", told)

    @admin.display(description=_("from"))
    def stood(self, change: Change) -> str:
        return _lines(presenters.standing(change.before))

    @admin.display(description=_("to"))
    def stands(self, change: Change) -> str:
        return _lines(presenters.standing(change.after))


def _lines(texts: Iterable[str]) -> str:
    return format_html_join(mark_safe("<br>"), "{}", ((text,) for text in texts)) or "—"


@admin.register(Plan)
class PlanAdmin(ReadOnlyAdmin):
    list_display = ("due_at", "phase", "percent", "state", "by", "reason", "told")
    list_filter = ("state",)
    fields = ("due_at", "phase", "percent", "state", "by", "reason", "told", "revision")
    readonly_fields: ClassVar = ["told"]

    @admin.display(description=_("outcome"))
    def told(self, plan: Plan) -> str:
        return plan.text
