from typing import Any
from urllib.parse import unquote_plus

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from webhooks.models import InboxQuerySet, InboxUpdate, Repeat, Replay, State
from webhooks.replays import outlook


class ReplayForm(forms.Form):
    reason = forms.CharField(label=_("reason"), max_length=500, widget=UnfoldAdminTextInputWidget)


class ReceivedFilter(RangeDateTimeFilter):
    """A range of time. A wrong one finds nothing: Unfold's own would find everything, and a replay would take it."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[InboxUpdate]) -> QuerySet[InboxUpdate]:
        for end, lookup, default in (("from", "gte", "00:00:00"), ("to", "lte", "23:59:59")):
            date, time = (self.used_parameters.get(f"{self.parameter_name}_{end}_{part}") for part in (0, 1))
            if not date and not time:
                continue
            try:
                moment = forms.DateTimeField().clean(f"{date} {time or default}")
            except forms.ValidationError:
                return queryset.none()
            queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": moment})
        return queryset


class ReadOnlyAdmin(ModelAdmin):
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(InboxUpdate)
class InboxUpdateAdmin(ReadOnlyAdmin):
    list_display = ("id", "update_type", "state", "user_id", "received_at", "finished_at", "tries", "reason")
    list_filter = ("state", "update_type", ("received_at", ReceivedFilter))
    list_filter_submit = True
    search_fields = ("user_id",)
    # The body is personal data: it has no place in a form.
    exclude = ("body", "dedup_key")
    actions = ("replay_selected",)
    actions_list = ("dead_letters", "replay_result")

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("webhooks.add_replay") and self.has_view_permission(request))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data:
            for button in response.context_data["actions_list"]:
                button["path"] += f"?{request.GET.urlencode()}"
        return response

    @action(description=_("Dead letters"), url_path="dead-letters", permissions=["view"])
    def dead_letters(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(f"{_list_url()}?state__exact={State.DEAD}")

    @action(description=_("Replay selected"), permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: InboxQuerySet) -> HttpResponse:
        is_whole_result = request.POST.get("select_across") == "1" and request.GET
        ids = ",".join(map(str, queryset.values_list("pk", flat=True)))
        query = request.GET.urlencode() if is_whole_result else f"id__in={ids}"
        return HttpResponseRedirect(f"{reverse('admin:webhooks_inboxupdate_replay_result')}?{query}")

    @action(description=_("Replay the filter's result"), url_path="replay", permissions=["replay"])
    def replay_result(self, request: HttpRequest) -> HttpResponse:
        updates = self._filtered(request)
        if updates is None:
            messages.error(request, _("Filter the list first: this would replay everything."))
            return HttpResponseRedirect(_list_url())
        form = ReplayForm(request.POST or None)
        if form.is_valid():
            with transaction.atomic():
                selection = unquote_plus(request.GET.urlencode())[:500]
                reason, by = form.cleaned_data["reason"], request.user.get_username()
                count = updates.replay(by=by, reason=reason, selection=selection)
            done = ngettext("%d update is in the queue again.", "%d updates are in the queue again.", count) % count
            messages.success(request, done)
            return HttpResponseRedirect(_list_url())
        context = self.admin_site.each_context(request) | {
            "title": _("Replay updates"),
            "opts": self.opts,
            "form": form,
            "outlook": outlook(updates),
        }
        return TemplateResponse(request, "webhooks/replay.html", context)

    def _filtered(self, request: HttpRequest) -> Any:
        """Return what the list shows with the filters of this request, None where there are none."""
        try:
            changelist = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return None
        values = [value for given in changelist.get_filters_params().values() for value in given]
        return changelist.queryset if any(values) or changelist.query else None


def _list_url() -> str:
    return reverse("admin:webhooks_inboxupdate_changelist")


@admin.register(Repeat)
class RepeatAdmin(ReadOnlyAdmin):
    list_display = ("update_type", "is_conflict", "received_at")
    list_filter = ("update_type", "is_conflict")
    exclude = ("dedup_key",)


@admin.register(Replay)
class ReplayAdmin(ReadOnlyAdmin):
    list_display = ("at", "by", "count", "selection", "reason")
    search_fields = ("by", "reason", "selection")
