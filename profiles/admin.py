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
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from config.lib import audit_log
from config.lib.admin import GlobalScopeAdmin, ReadOnlyAdmin
from config.lib.audit_log import AuditedAdmin
from config.lib.messages import Message
from config.lib.pagination import BoundedPaginator
from config.lib.scope import scope_of
from profiles import cache, names
from profiles.erasure import erase
from profiles.merge import ProfileUpdate, TimestampedValue
from profiles.models import PhoneLink, Profile, ProfileSource
from profiles.models.tombstones import Erasure
from profiles.user_ids import user_id_of

_NAMES = ("first_name", "last_name", "user_provided_name")


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    """Names by hand go the way of every other: as claims with a clock."""

    class Meta:
        model = Profile
        fields = ("user_id", *_NAMES)

    def clean_user_id(self) -> str:
        try:
            return user_id_of(self.cleaned_data["user_id"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean_first_name(self) -> str:
        return names.clean(self.cleaned_data["first_name"] or "")

    def clean_last_name(self) -> str:
        return names.clean(self.cleaned_data["last_name"] or "")

    def clean_user_provided_name(self) -> str:
        given = self.cleaned_data["user_provided_name"]
        try:
            return names.user_provided(given) if given else ""
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if "user_id" in self.fields and not self.errors and not any(given[name] for name in _NAMES):
            raise forms.ValidationError(_("A profile begins with a name: the first, the last or the person's own."))
        return given

    def profile_update(self) -> ProfileUpdate:
        now = timezone.now()
        claims = {
            name: TimestampedValue(True, now, self.cleaned_data[name]) for name in _NAMES if name in self.changed_data
        }
        return ProfileUpdate(self.instance.user_id, now, **claims)


class SourceFilter(DropdownFilter):
    """Offers the two sources that a profile can have: to look for those that occur would read the whole table."""

    title = _("source")
    parameter_name = "source__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(source.value, str(source.label)) for source in (ProfileSource.WEBHOOK, ProfileSource.USER_INPUT)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Profile]) -> QuerySet[Profile]:
        return queryset.filter(source=self.value()) if self.value() else queryset


class ErasureForm(forms.Form):
    reason = forms.CharField(
        label=_("reason"),
        help_text=_("kept for good: no names"),
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        error_messages={"required": _("Nobody is erased without a reason.")},
    )


@admin.register(Profile)
class ProfileAdmin(AuditedAdmin):
    form = ProfileForm
    actions = ("delete_selected",)
    delete_confirmation_template = delete_selected_confirmation_template = "admin/erase.html"
    list_display = ("user_id", *_NAMES, "shown_source", "last_updated")
    sortable_by = ("user_id",)
    list_filter = (SourceFilter,)
    list_filter_submit = True
    list_per_page = 50
    search_fields = ("user_id",)
    search_help_text = _("MAX id")
    paginator = BoundedPaginator
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Profile]:
        profiles: QuerySet[Profile] = super().get_queryset(request)
        scope = scope_of(request)
        return profiles if scope.sees_all else profiles.filter(pk__in=scope.profiles().values("pk"))

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Find by the whole id: nothing else has an index."""
        return (queryset.filter(user_id=search_term.strip()) if search_term.strip() else queryset), False

    def get_readonly_fields(self, request: HttpRequest, obj: Profile | None = None) -> Sequence[str]:
        return ("user_id", "shown_source", "last_updated", "is_behind") if obj else ()

    @admin.display(description=_("source"), ordering="source")
    def shown_source(self, profile: Profile) -> str:
        # A computed column has the choices of its output, and Django shows none of them.
        return str(ProfileSource(profile.source).label)

    @admin.display(description=_("behind in Redis"), boolean=True)
    def is_behind(self, profile: Profile) -> bool:
        return profile.is_cache_behind

    def save_model(self, request: HttpRequest, obj: Profile, form: ProfileForm, change: bool) -> None:
        changed = Profile.objects.merge([form.profile_update()])
        cache.write_through(changed)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Say what an erasure is: more than the row goes, and something stays."""
        words = [
            _("The profile with its names, in PostgreSQL and in Redis"),
            _("Verified links of the person to a phone"),
            _("Bodies of the person's updates, dead letters among them"),
            _("The names in the directory become “Неизвестно”; the employee stays"),
            _("A tombstone keeps the moment and a hash of the id: only a later update makes a profile anew"),
        ]
        people = [f"{_('MAX id')} {profile}" for profile in objs]
        refused = set() if self.has_delete_permission(request) else {self.opts.verbose_name}
        return [*people, words], {self.opts.verbose_name_plural: len(people)}, refused, []

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "POST" and not self._has_reason(request):
            return HttpResponseRedirect(request.get_full_path())
        context = {"form": ErasureForm()} | (extra_context or {})
        response: HttpResponse = super().delete_view(request, object_id, context)
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
        """Leave the record to the erasure's own: Django's would keep the MAX id."""
        return []

    def delete_model(self, request: HttpRequest, obj: Profile) -> None:
        form = ErasureForm(request.POST)
        form.full_clean()
        erase(obj.user_id, by=request.user.get_username(), reason=form.cleaned_data["reason"])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        for profile in queryset:
            self.delete_model(request, profile)


@admin.register(PhoneLink)
class PhoneLinkAdmin(GlobalScopeAdmin, ReadOnlyAdmin):
    """A link may be taken away: the person shares the phone anew, or the direct API is asked."""

    list_display = ("user_id", "said_at")
    search_fields = ("user_id",)
    exclude = ("phone",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(ModelAdmin.has_delete_permission(self, request, obj))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> list[LogEntry]:
        """Record that links went, and not whose: Django would keep the MAX id."""
        for _link in queryset:
            audit_log.record(request, Message("A person's link to a phone was taken away"), PhoneLink)
        return []


@admin.register(Erasure)
class ErasureAdmin(GlobalScopeAdmin, ReadOnlyAdmin):
    list_display = ("at", "by", "reason", "told")
    fields = ("at", "by", "reason", "person", "told")
    readonly_fields: ClassVar = ["told"]

    @admin.display(description=_("erased rows by table"))
    def told(self, erasure: Erasure) -> str:
        """Say what went by the names of the models; a table that is gone since keeps its own."""
        models = (model._meta for model in apps.get_models())  # noqa: SLF001 (documented by Django)
        names_of = {opts.db_table: capfirst(str(opts.verbose_name_plural)) for opts in models}
        told = ((names_of.get(table, table), count) for table, count in erasure.counts.items() if count)
        return format_html_join(mark_safe("<br>"), "{}: {}", told) or "—"
