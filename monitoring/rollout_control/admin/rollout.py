"""The admin of the rollout: saved forms become change requests, as in the API; records are read-only."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget
from waffle.models import Sample, Switch

from config.lib.admin import (
    GlobalScopeAdmin,
    MergingAdmin,
    ReadOnlyAdmin,
    RenamedModelAdmin,
    ScopedAdmin,
    SharedRowsAdmin,
    column,
)
from config.lib.admin.stale_forms import MergingForm
from config.lib.audit_log import UntranslatedLogAdmin
from config.lib.messages import Message
from config.lib.scope import scope_of
from config.postgres.locks import commit_here
from employees.admin import admin_scope
from employees.models import University
from monitoring.rollout_control import FORCE
from monitoring.rollout_control.gates import GateResult
from monitoring.rollout_control.labels import GATES
from monitoring.rollout_control.models import Verdict
from profiles.models import Comparison
from profiles.rollout import changes, presenters, rules, standby
from profiles.rollout.approvals import ApprovalNeeded
from profiles.rollout.change_request import ChangeRequest, Source
from profiles.rollout.models import (
    Action,
    Approval,
    Change,
    ChangeQuerySet,
    Flag,
    Heartbeat,
    Plan,
    Rollout,
    UniversityRule,
)
from profiles.rollout.phases import BUCKETED, PHASES, RESERVED
from profiles.rollout.presenters import audit_rows
from profiles.rollout.rules import ChangeRefused


class ChangeRequestForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form whose validation makes a dry run of the change, so that a refusal is shown as a form error."""

    request: ClassVar[HttpRequest]

    reason = forms.CharField(label=_("reason"), required=False, widget=UnfoldAdminTextInputWidget)
    expect_revision = forms.CharField(label=_("revision"), required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["expect_revision"].initial = Rollout.current().revision

    def clean(self) -> None:
        super().clean()
        if not self.errors:
            commit_here()  # a refused form stores nothing that a standby must confirm; apply() decides for other forms
            self.apply(is_dry_run=True)

    def apply(self, *, is_dry_run: bool = False) -> None:
        changes.apply(
            ChangeRequest.of(
                source=Source.FLAG_FORM,
                by=self.request.user.get_username(),
                reason=self.cleaned_data.get("reason") or "",
                expected_revision=self.cleaned_data.get("expect_revision"),
                is_dry_run=is_dry_run,
                is_forced=bool(self.cleaned_data.get("force")),
                universities=scope_of(self.request).university_ids(),
                account=self.request.user.pk,
                **self.change(),
            )
        )

    def change(self) -> dict[str, Any]:
        """Return the action and its parameters, as keyword arguments of ``ChangeRequest.of``."""
        raise NotImplementedError


class FlagForm(ChangeRequestForm):
    # A text field, because the rules refuse an invalid percentage with the same message as elsewhere.
    percent = forms.CharField(label=_("percent"), required=False, widget=UnfoldAdminTextInputWidget)
    force = forms.BooleanField(
        label=_("take the step even if some gates have not passed"), required=False, widget=UnfoldBooleanWidget
    )
    expect_percent = forms.CharField(label=_("percent"), required=False, widget=forms.HiddenInput)
    expect_modified = forms.DateTimeField(label=_("revision"), required=False, widget=forms.HiddenInput)

    class Meta:
        model = Flag
        fields: tuple[str, ...] = ("note",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["percent"] = self.initial["expect_percent"] = self._percent()
        if self.instance.pk:
            self.initial["expect_modified"] = self.instance.modified.isoformat()
        self.fields["force"].disabled = not self.request.user.has_perm(FORCE)

    def _percent(self) -> str:
        """Return the percentage in the database: after validation, the form's instance already has the new value."""
        stored = Flag.objects.filter(pk=self.instance.pk).first() or Flag()
        return rules.format_percent(stored.percent or Decimal(0))

    def clean(self) -> None:
        super().clean()
        if not self.errors:
            self.unchanged()

    def unchanged(self) -> QuerySet[Flag]:
        """Return the flag's row as a queryset; raise ChangeRefused if the flag was saved since the page was opened."""
        rows = Flag.objects.filter(pk=self.instance.pk)
        expected = self.cleaned_data.get("expect_modified")
        if expected and not rows.filter(modified=expected).exists():
            raise ChangeRefused(Message("Somebody else has changed the flag. Open the page again and check the flag."))
        return rows.filter(modified=expected) if expected else rows

    def clean_percent(self) -> str | None:
        """Return the percentage with a decimal point: the model field, which validates it next, rejects a comma."""
        return str(self.cleaned_data["percent"]).replace(",", ".")

    def change(self) -> dict[str, Any]:
        percent = self.cleaned_data["percent"]
        if self.instance.name in PHASES:
            return {"action": Action.SET, "phase": self.instance.name, "percent": percent}
        # Changing the flag of another app does not increase the revision, so compare the percentages.
        expected, now = self.cleaned_data.get("expect_percent"), self._percent()
        if expected and expected != now:
            params = {"now": now, "expected": expected[:10]}
            raise ChangeRefused(
                Message("Somebody else has changed the flag: it is at %(now)s%%, not %(expected)s%%", params)
            )
        return {"action": Action.FLAG, "flag": self.instance, "percent": percent or "0"}


class OtherFlagForm(FlagForm):
    """The form of a flag that is not a phase, with the fields of waffle's own admin."""

    class Meta(FlagForm.Meta):
        fields = ("name", "note", "everyone", *Flag.CRITERIA, "users", "groups")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Keep the flag's values for fields that are missing in the request, unless the admin's page sent the request.

        The page sends nothing for a box that is not ticked, so a missing field in its request means “no”.
        """
        super().__init__(*args, **kwargs)
        if self.is_bound and "expect_percent" not in self.data:
            for name in self.fields.keys() & set(OtherFlagForm.Meta.fields):
                self.fields[name].disabled = name not in self.data

    def clean_name(self) -> str:
        return rules.unreserved(self.cleaned_data["name"])

    def clean_percent(self) -> str | None:
        return super().clean_percent() or None

    def change(self) -> dict[str, Any]:
        # Django sets the instance's fields only after clean(), but the dry run in clean() needs them.
        self.instance.name = self.cleaned_data.get("name", self.instance.name)
        for name in ("everyone", *Flag.CRITERIA):
            setattr(self.instance, name, self.cleaned_data[name])
        return super().change()


class SwitchForm(ChangeRequestForm):
    class Meta:
        model = Switch
        fields = ("active",)

    def change(self) -> dict[str, Any]:
        return {"action": Action.SWITCH, "switch": self.instance.name, "is_on": self.cleaned_data["active"]}


class OtherSwitchForm(MergingForm):
    """The form of a switch that does not belong to the rollout, with the fields of waffle's own admin."""

    class Meta:
        model = Switch
        fields = ("name", "active", "note")

    def clean_name(self) -> str:
        return rules.unreserved(self.cleaned_data["name"])


class SampleForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Sample
        fields = ("name", "percent", "note")

    def clean_percent(self) -> Decimal:
        percent: Decimal = self.cleaned_data["percent"]
        rules.percentage(percent)
        return percent


class UniversityRuleForm(ChangeRequestForm):
    university_id = forms.TypedChoiceField(
        label=_("university"),
        coerce=int,
        widget=UnfoldAdminSelectWidget,
        error_messages={"invalid_choice": _("There is no such university.")},
    )

    class Meta:
        model = UniversityRule
        fields = ("university_id", "phase", "is_allowed", "expires_at")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the universities by name, including the rule's own if it was deleted: the rule can then be edited."""
        super().__init__(*args, **kwargs)
        limits = admin_scope(self.request)
        known = limits.universities() if limits else University.objects.all()
        names = dict(known.order_by("name").values_list("pk", "name"))
        if self.instance.pk:
            names.setdefault(self.instance.university_id, gettext("deleted university"))
        self.fields["university_id"].choices = [("", _("Choose a university")), *names.items()]  # type: ignore[attr-defined]

    def change(self) -> dict[str, Any]:
        # Django sets the instance's fields only after clean(), but the dry run in clean() needs them.
        for name in self.Meta.fields:
            setattr(self.instance, name, self.cleaned_data[name])
        return {"action": Action.SCOPE, "rule": self.instance}


class ChangeRequestAdmin(UntranslatedLogAdmin):
    """Save a form by applying its change request. Forms have the current HTTP request as the attribute ``request``."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._show_refusal(request, super().changeform_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._show_refusal(request, super().delete_view, *args, **kwargs)

    def _show_refusal(
        self, request: HttpRequest, view: Callable[..., HttpResponse], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Call the view; if the change is refused although the form was valid, show the reason on the page."""
        try:
            return view(request, *args, **kwargs)
        except ApprovalNeeded as needed:
            # The request for approval was rolled back together with the form.
            needed.store()
            self.message_user(request, f"{needed} {needed.notice}", messages.WARNING)
            return HttpResponseRedirect(request.get_full_path())
        except ChangeRefused as refused:
            self.message_user(request, str(refused), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"request": request})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        form.apply()


class WaffleAdmin(SharedRowsAdmin, UntranslatedLogAdmin):
    """Allow changes only to users who see all universities, because flags, switches and samples concern all of them.

    Nobody can delete the flags and switches that the rollout uses.
    """

    display_name = column(_("name"), lambda row: presenters.with_code(row.name), "name")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_kept = obj is not None and obj.name in RESERVED
        return not is_kept and super().has_delete_permission(request, obj)


@admin.register(Flag)
class FlagAdmin(WaffleAdmin, ChangeRequestAdmin):
    form = FlagForm
    list_display = ("display_name", "percent", "everyone", "moved_at")
    readonly_fields: ClassVar = ["display_name", "display_salt"]
    autocomplete_fields = ("users",)
    display_salt = column(_("salt"), lambda flag: format_html("<code>{}</code>", flag.salt))

    def get_fields(self, request: HttpRequest, obj: Flag | None = None) -> Any:
        hidden = ("expect_revision", "expect_percent", "expect_modified")
        if obj is not None and obj.name in BUCKETED:
            return ("display_name", "percent", "reason", "force", "note", "display_salt", *hidden)
        # Users who may only view flags need not see the accounts.
        members = ("users", "groups") if self.has_change_permission(request, obj) else ()
        name = "display_name" if obj else "name"
        return (name, "everyone", "percent", *Flag.CRITERIA, *members, "reason", "note", *hidden)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = FlagForm if obj is not None and obj.name in BUCKETED else OtherFlagForm
        return super().get_form(request, obj, change, form=form, **kwargs)

    def save_related(self, request: HttpRequest, form: Any, *args: Any) -> None:
        with changes.recorded_as_command(request.user.get_username(), form.cleaned_data["reason"]):
            super().save_related(request, form, *args)

    def save_model(self, request: HttpRequest, obj: Flag, form: Any, change: bool) -> None:
        # A page of the flag that was opened earlier detects by this time that note, users or groups may have changed.
        form.unchanged().update(note=obj.note, modified=timezone.now())
        form.apply()

    def delete_model(self, request: HttpRequest, obj: Flag) -> None:
        with changes.recorded_as_command(request.user.get_username(), Message("Removed in the admin")):
            super().delete_model(request, obj)


@admin.register(Switch)
class SwitchAdmin(WaffleAdmin, ChangeRequestAdmin):
    form = SwitchForm
    list_display = ("display_name", "active", "modified")
    readonly_fields: ClassVar = ["display_name"]

    def get_fields(self, request: HttpRequest, obj: Switch | None = None) -> Any:
        if obj is not None and obj.name in RESERVED:
            return ("display_name", "active", "reason", "expect_revision")
        return ("display_name" if obj else "name", "active", "note")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = SwitchForm if obj is not None and obj.name in RESERVED else OtherSwitchForm
        return super().get_form(request, obj, change, form=form, **kwargs)

    def save_model(self, request: HttpRequest, obj: Switch, form: Any, change: bool) -> None:
        if obj.name in RESERVED:
            form.apply()
            standby.warn_after_commit(partial(messages.warning, request))
        else:
            obj.save()


@admin.register(Sample)
class SampleAdmin(WaffleAdmin, MergingAdmin):
    form = SampleForm
    list_display = ("name", "percent", "modified")
    fields = ("name", "percent", "note")


def with_university(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Annotate rows that have a ``university_id`` with ``university_name``; None if the university was deleted."""
    names = University.objects.filter(pk=OuterRef("university_id")).values("name")
    with_names: QuerySet[Any] = rows.annotate(university_name=Subquery(names[:1]))
    return with_names


def _shown_university(row: Any) -> str:
    return row.university_name or ("—" if row.university_id is None else gettext("deleted university"))


@admin.register(UniversityRule)
class UniversityRuleAdmin(RenamedModelAdmin, ScopedAdmin, ChangeRequestAdmin):
    form = UniversityRuleForm
    list_display = ("display_university", "phase", "is_allowed", "reason", "expires_at")
    fields = ("university_id", "phase", "is_allowed", "expires_at", "reason", "expect_revision")
    university_path = "university_id"
    display_university = column(_("university"), _shown_university, "university_name")

    def get_queryset(self, request: HttpRequest) -> Any:
        return with_university(super().get_queryset(request))

    def get_fields(self, request: HttpRequest, obj: UniversityRule | None = None) -> Any:
        """Return the fields. A user who may only view the rule gets the university's name as text."""
        if obj is None or self.has_change_permission(request, obj):
            return self.fields
        return ["display_university", *self.fields[1:-1]]

    def get_readonly_fields(self, request: HttpRequest, obj: UniversityRule | None = None) -> Any:
        return ["display_university"]

    def delete_model(self, request: HttpRequest, obj: UniversityRule) -> None:
        by, reason = request.user.get_username(), Message("Removed in the admin")
        params: dict[str, Any] = {"rule": obj, "is_on": False, "universities": scope_of(request).university_ids()}
        params["account"] = request.user.pk
        changes.apply(ChangeRequest.of(Action.SCOPE, Source.ADMIN, by=by, reason=reason, **params))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for rule in queryset:
            self.delete_model(request, rule)


@admin.register(Change)
class ChangeAdmin(ReadOnlyAdmin):
    list_display = ("revision", "at", "display_by", "action", "display_reason", "is_forced", "approved_by")
    list_filter = ("action", "is_forced")
    search_fields = ("by", "reason")
    readonly_fields: ClassVar = [
        "display_by", "display_change", "display_reason", "display_evidence", "display_before", "display_after",
    ]  # fmt: skip
    fields = (
        "revision", "at", "display_by", "display_change", "display_reason", "is_forced", "approved_by",
        "approval_reason", "display_evidence", "display_before", "display_after",
    )  # fmt: skip
    display_by = column(_("by"), lambda change: presenters.actor(change.by), "by")
    display_change = column(_("action"), audit_rows.change)
    display_reason = column(_("reason"), attrgetter("text"), "reason")
    display_before = column(_("from"), lambda change: _lines(audit_rows.recorded_state(change.before)))
    display_after = column(_("to"), lambda change: _lines(audit_rows.recorded_state(change.after)))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Change]:
        return _visible(super().get_queryset(request), request)

    @admin.display(description=_("evidence"))
    def display_evidence(self, change: Change) -> str:
        results = (
            (GATES[item["gate"]], Verdict(item["verdict"]).label, GateResult.stored_message(item))
            for item in change.evidence
        )
        return format_html_join(mark_safe("<br>"), "{}: {} — {}", results)


def _lines(texts: Iterable[str]) -> str:
    return format_html_join(mark_safe("<br>"), "{}", ((text,) for text in texts)) or "—"


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    list_display = ("at", "display_by", "display_change", "state", "decided_by", "decision_reason")
    list_filter = ("state",)
    readonly_fields: ClassVar = ["display_by", "display_change", "display_reason"]
    fields = (
        "at", "display_by", "display_change", "display_reason", "is_forced", "expires_at", "state", "decided_at",
        "decided_by", "decision_reason",
    )  # fmt: skip
    display_by = column(_("by"), lambda approval: presenters.actor(approval.by), "by")
    display_change = column(_("action"), audit_rows.change)
    display_reason = column(_("reason"), attrgetter("text"), "reason")

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Require the permission to view changes: a request for approval is a change that has not been made yet."""
        return request.user.has_perm("rollout.view_change")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Approval]:
        return _visible(super().get_queryset(request), request)


def _visible(rows: ChangeQuerySet, request: HttpRequest) -> ChangeQuerySet:
    """Return the rows, except those about universities that the user may not see."""
    limits = admin_scope(request)
    return rows.of_universities(limits.universities().values_list("pk", flat=True)) if limits else rows


@admin.register(Plan)
class PlanAdmin(ReadOnlyAdmin):
    list_display = ("due_at", "phase", "percent", "state", "display_by", "reason", "display_outcome")
    list_filter = ("state",)
    fields = (
        "due_at", "phase", "percent", "state", "display_by", "reason", "display_outcome", "revision", "first",
        "waits_for_gates", "from_hour", "until_hour",
    )  # fmt: skip
    readonly_fields: ClassVar = ["display_by", "display_outcome"]
    display_by = column(_("by"), lambda plan: presenters.actor(plan.by), "by")
    display_outcome = column(_("outcome"), attrgetter("text"))


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    list_display = ("process", "revision", "revision_seen_at", "seen_at")


@admin.register(Comparison)
class ComparisonAdmin(GlobalScopeAdmin, ReadOnlyAdmin):
    list_display = (
        "at",
        "outcome",
        "pattern",
        "cache_name",
        "api_name",
        "cache_age_days",
        "display_university",
        "stage",
    )
    list_filter = ("outcome", "pattern", "stage")
    exclude = ("university_id",)
    readonly_fields = ("display_university",)
    display_university = column(_("university"), _shown_university)

    def get_queryset(self, request: HttpRequest) -> Any:
        return with_university(super().get_queryset(request))
