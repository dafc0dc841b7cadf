from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_protect
from unfold.contrib.filters.admin import DropdownFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from config.lib import audit_log, shell_user
from config.lib.admin import GlobalScopeAdmin, MergingAdmin, ModelAdmin, ReadOnlyAdmin, column
from config.lib.audit_log import AuditedAdmin
from config.lib.http.pagination import BoundedPaginator
from config.lib.messages import Message
from config.lib.scope import NOT_COVERED, scope_of
from config.postgres import locks
from config.postgres.base import without_standby
from profiles import cache, names, user_ids
from profiles.models import Erasure, PhoneLink, Profile, ProfileSource
from profiles.personal_data.erasure import erase

_NAMES = ("first_name", "last_name", "user_provided_name")


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    """Validate names entered by hand; ProfileAdmin stores them as an update, so that the merge rule applies to them."""

    class Meta:
        model = Profile
        fields = ("user_id", *_NAMES)

    def clean_user_id(self) -> str:
        try:
            return user_ids.typed(self.cleaned_data["user_id"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean_first_name(self) -> str:
        return names.clean(self.cleaned_data["first_name"] or "")

    def clean_last_name(self) -> str:
        return names.clean(self.cleaned_data["last_name"] or "")

    def clean_user_provided_name(self) -> str:
        name = self.cleaned_data["user_provided_name"]
        try:
            return names.user_provided(name) if name else ""
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if "user_id" in self.fields and not self.errors and not any(cleaned[name] for name in _NAMES):
            raise forms.ValidationError(_("Enter a first name, a last name or a user-provided name."))
        return cleaned


class SourceFilter(DropdownFilter):
    """Offer the two sources that a profile can have, without querying the table for its distinct values."""

    title = _("source")
    parameter_name = "source__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(source.value, str(source.label)) for source in (ProfileSource.WEBHOOK, ProfileSource.USER_INPUT)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Profile]) -> QuerySet[Profile]:
        return queryset.filter(source=self.value()) if self.value() else queryset


class ErasureForm(forms.Form):
    reason = forms.CharField(
        label=_("reason"),
        help_text=_("stored permanently: do not include names"),
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        error_messages={"required": _("Enter a reason for the erasure.")},
    )


@admin.register(Profile)
class ProfileAdmin(MergingAdmin, AuditedAdmin):
    form = ProfileForm
    actions = ("delete_selected",)
    delete_confirmation_template = delete_selected_confirmation_template = "admin/erase.html"
    list_display = ("user_id", *_NAMES, "display_source", "last_updated")
    sortable_by = ("user_id",)
    list_filter = (SourceFilter,)
    list_filter_submit = True
    search_fields = ("user_id",)
    search_help_text = _("MAX ID")
    paginator = BoundedPaginator
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Profile]:
        profiles: QuerySet[Profile] = super().get_queryset(request)
        scope = scope_of(request)
        return profiles if scope.sees_all else profiles.filter(pk__in=scope.profiles().values("pk"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False for users who are limited to one university, because a new profile belongs to no university."""
        return scope_of(request).sees_all and bool(super().has_add_permission(request))

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search only by the complete MAX ID, since nothing else is indexed."""
        return (queryset.filter(user_id=search_term.strip()) if search_term.strip() else queryset), False

    def get_readonly_fields(self, request: HttpRequest, obj: Profile | None = None) -> Sequence[str]:
        return ("user_id", "display_source", "last_updated", "is_behind") if obj else ()

    @admin.display(description=_("source"), ordering="source")
    def display_source(self, profile: Profile) -> str:
        # Django does not display the choice labels of a generated column.
        return str(ProfileSource(profile.source).label)

    @admin.display(description=_("outdated in Redis"), boolean=True)
    def is_behind(self, profile: Profile) -> bool:
        return profile.is_cache_behind

    def save_model(self, request: HttpRequest, obj: Profile, form: ProfileForm, change: bool) -> None:
        changed = [name for name in _NAMES if name in form.changed_data]
        cache.store_names(obj.user_id, {name: form.cleaned_data[name] for name in changed})

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List what an erasure removes and what remains, for the confirmation page."""
        consequences = [
            _("The profile and its names in PostgreSQL and Redis"),
            _("Verified phone links"),
            _("Bodies of the person's updates, including failed ones"),
            _("Names in the directory become “Неизвестно”; the employees stay"),
            _("A tombstone with the time and a hash of the ID remains: only a later update can recreate the profile"),
        ]
        people = [f"{_('MAX ID')} {profile}" for profile in objs]
        refused = set() if self.has_delete_permission(request) else {self.opts.verbose_name}
        scope = scope_of(request)
        protected = [f"{_('MAX ID')} {profile}: {NOT_COVERED}" for profile in objs if not scope.covers(profile.pk)]
        return [*people, consequences], {self.opts.verbose_name_plural: len(people)}, refused, protected

    @method_decorator(csrf_protect)
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "POST" and self.has_delete_permission(request) and not self._has_reason(request):
            return HttpResponseRedirect(request.get_full_path())
        context = {"form": ErasureForm()} | (extra_context or {})
        # Django's view would open a transaction, but an erasure commits its tombstone before it erases.
        response: HttpResponse = self._delete_view(request, object_id, context)
        return response

    @admin.action(description=_("Erase the selected people"), permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Profile]) -> HttpResponse | None:
        if "post" in request.POST and not self._has_reason(request):
            return None
        response = delete_selected(self, request, queryset)
        if response is not None and response.context_data is not None:
            response.context_data["form"] = ErasureForm()
        return response

    def _has_reason(self, request: HttpRequest) -> bool:
        form = ErasureForm(request.POST)
        if not form.is_valid():
            self.message_user(request, " ".join(map(str, form.errors["reason"])), messages.ERROR)
        return form.is_valid()

    def log_deletions(self, request: HttpRequest, queryset: Any) -> list[LogEntry]:
        """Log nothing: the erasure has its own audit row, and Django's log entry would contain the MAX ID."""
        return []

    def delete_model(self, request: HttpRequest, obj: Profile) -> None:
        form = ErasureForm(request.POST)
        form.full_clean()
        person = erase(obj.user_id, by=request.user.get_username(), reason=form.cleaned_data["reason"])
        if person.is_partial:
            text = _("A background task is still searching the updates of other people, which may mention the person.")
            self.message_user(request, text, messages.WARNING)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        with locks.confirmed_together():
            for profile in queryset:
                self.delete_model(request, profile)


@admin.register(PhoneLink)
class PhoneLinkAdmin(GlobalScopeAdmin, ReadOnlyAdmin):
    """Show phone links, and allow deleting them: the person can restore a link by sharing the phone again."""

    list_display = ("user_id", "observed_at")
    search_fields = ("user_id",)
    exclude = ("phone",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(ModelAdmin.has_delete_permission(self, request, obj))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> list[LogEntry]:
        """Log the deletions without the MAX IDs, which Django's log entries would contain."""
        with without_standby():
            for _link in queryset:
                audit_log.record(request, Message("Phone link removed"), PhoneLink)
        return []


@admin.register(Erasure)
class ErasureAdmin(GlobalScopeAdmin, ReadOnlyAdmin):
    list_display = ("at", "display_by", "reason", "display_counts")
    fields = ("at", "display_by", "reason", "person", "display_counts")
    readonly_fields: ClassVar = ["display_by", "display_counts"]
    display_by = column(_("by"), lambda erasure: shell_user.displayed(erasure.by), "by")

    @admin.display(description=_("erased rows by table"))
    def display_counts(self, erasure: Erasure) -> str:
        """Return the counts of erased rows as HTML, by model name or, if the model no longer exists, by table name."""
        models = (model._meta for model in apps.get_models())  # noqa: SLF001 (documented by Django)
        titles = {opts.db_table: capfirst(str(opts.verbose_name_plural)) for opts in models}
        counts = ((titles.get(table, table), count) for table, count in erasure.counts.items() if count)
        return format_html_join(mark_safe("<br>"), "{}: {}", counts) or "—"
