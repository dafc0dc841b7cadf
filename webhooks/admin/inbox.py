from typing import Any
from urllib.parse import unquote_plus, urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from config.lib.admin import GlobalScopeAdmin, ReadOnlyAdmin, RenamedModelAdmin
from config.lib.pagination import BoundedPaginator
from webhooks.admin.filters import ReceivedFilter, TypeFilter
from webhooks.admin.timeline import dead_letter_groups, readable, timeline_of, views_of
from webhooks.models import DuplicateDelivery, InboxQuerySet, InboxUpdate, PayloadAccess, Replay, State
from webhooks.replay_preview import outlook

_STATE_COLOURS = {
    State.PENDING: "info",
    State.DONE: "success",
    State.SKIPPED: "warning",
    State.QUARANTINED: "warning",
    State.DEAD: "danger",
}


class ReasonForm(forms.Form):
    reason = forms.CharField(label=_("reason"), max_length=500, widget=UnfoldAdminTextInputWidget)


class LargeTableAdmin(GlobalScopeAdmin, ReadOnlyAdmin):
    """Lists of millions of rows, which no page may count or sort."""

    paginator = BoundedPaginator
    # Half of Django's hundred: the theme draws each badge by a template.
    list_per_page = 50


@admin.register(InboxUpdate)
class InboxUpdateAdmin(LargeTableAdmin):
    list_display = (
        "id",
        "shown_type",
        "shown_state",
        "user_id",
        "received_at",
        "finished_at",
        "tries",
        "shown_reason",
    )
    # Nothing else has an index, and they come in the order of their numbers.
    sortable_by = ("id",)
    list_filter = ("state", TypeFilter, ("received_at", ReceivedFilter))
    list_filter_submit = True
    search_fields = ("user_id",)
    search_help_text = _("MAX id of a person, or number of an update")
    # The body is personal data: it has no place in a form.
    exclude = ("body", "dedup_key")
    actions = ("replay_selected",)
    actions_list = ("dead_letters", "replay_result")
    actions_detail = ("replay_one", "raw_body")
    change_form_template = "webhooks/update.html"

    def has_replay_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return bool(request.user.has_perm("webhooks.add_replay") and self.has_view_permission(request))

    def has_raw_body_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return bool(request.user.has_perm("webhooks.view_raw_body") and self.has_view_permission(request))

    def get_queryset(self, request: HttpRequest) -> InboxQuerySet:
        updates: InboxQuerySet = super().get_queryset(request)
        return updates.defer("body", "dedup_key")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Find a person's updates by the whole id, which has an index, else an update by its number."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        of_person = queryset.filter(user_id=term)
        if term.isdecimal() and len(term) <= 18 and not of_person.exists():
            return queryset.filter(pk=int(term)), False
        return of_person, False

    @display(description=_("type"), ordering="update_type")
    def shown_type(self, update: InboxUpdate) -> str:
        return update.display_type

    @display(description=_("state"), ordering="state", label=_STATE_COLOURS)
    def shown_state(self, update: InboxUpdate) -> tuple[str, str]:
        return update.state, update.get_state_display()

    @display(description=_("reason"))
    def shown_reason(self, update: InboxUpdate) -> str:
        return update.display_reason

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data:
            for button in response.context_data["actions_list"]:
                button["path"] += f"?{request.GET.urlencode()}"
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data:
            update = response.context_data["original"]
            has_body = InboxUpdate.objects.filter(pk=update.pk, body__isnull=False).exists()
            response.context_data |= {"life": timeline_of(update), "looks": views_of(update)[:20], "has_body": has_body}
        return response

    @action(description=_("Dead letters"), url_path="dead-letters", permissions=["view"])
    def dead_letters(self, request: HttpRequest) -> HttpResponse:
        context = self._frame(request, _("Dead letters by error")) | {
            "groups": [group | _urls_of(group) for group in dead_letter_groups()],
            "may_replay": self.has_replay_permission(request),
        }
        return TemplateResponse(request, "webhooks/dead_letters.html", context)

    @action(description=_("Replay selected"), permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: InboxQuerySet) -> HttpResponse:
        is_whole_result = request.POST.get("select_across") == "1" and request.GET
        ids = ",".join(map(str, queryset.values_list("pk", flat=True)))
        return HttpResponseRedirect(_replay_url(request.GET.urlencode() if is_whole_result else f"id__in={ids}"))

    @action(description=_("Replay"), url_path="replay-one", permissions=["replay"])
    def replay_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(_replay_url(f"id__in={object_id}"))

    @action(description=_("Replay the filter's result"), url_path="replay", permissions=["replay"])
    def replay_result(self, request: HttpRequest) -> HttpResponse:
        updates = self._filtered(request)
        if updates is None:
            messages.error(request, _("Filter the list first: this would replay everything."))
            return HttpResponseRedirect(_list_url())
        form = ReasonForm(request.POST or None)
        if form.is_valid():
            with transaction.atomic():
                selection = unquote_plus(request.GET.urlencode())[:500]
                reason, by = form.cleaned_data["reason"], request.user.get_username()
                count = updates.replay(by=by, reason=reason, selection=selection)
            done = ngettext("%d update is in the queue again.", "%d updates are in the queue again.", count) % count
            messages.success(request, done)
            return HttpResponseRedirect(_list_url())
        context = self._frame(request, _("Replay updates")) | {"form": form, "outlook": outlook(updates)}
        return TemplateResponse(request, "webhooks/replay.html", context)

    @action(description=_("Show the body"), url_path="raw-body", permissions=["raw_body"])
    def raw_body(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what the messenger sent, to whom says why; the look is on record before anything is seen."""
        update = self.get_object(request, object_id)
        if update is None:
            raise Http404
        form = ReasonForm(request.POST or None)
        body = None
        if form.is_valid():
            PayloadAccess.objects.create(
                by=request.user.get_username(),
                inbox_update_id=update.pk,
                update_type=update.update_type,
                reason=form.cleaned_data["reason"],
            )
            body = readable(bytes(update.body or b""))
        context = self._frame(request, _("Body of update %d") % update.pk) | {
            "form": form,
            "body": body,
            "update": update,
            "is_pruned": update.body is None,
        }
        return TemplateResponse(request, "webhooks/raw_body.html", context)

    def _frame(self, request: HttpRequest, title: Any) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "title": title, "opts": self.opts}

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


def _urls_of(group: dict[str, Any]) -> dict[str, str]:
    query = urlencode(
        {"state__exact": State.DEAD.value, "reason": group["reason"], "update_type": group["update_type"]}
    )
    return {"list_url": f"{_list_url()}?{query}", "replay_url": _replay_url(query)}


def _replay_url(query: str) -> str:
    return f"{reverse('admin:webhooks_inboxupdate_replay_result')}?{query}"


@admin.register(DuplicateDelivery)
class DuplicateDeliveryAdmin(LargeTableAdmin, RenamedModelAdmin):
    list_display = ("shown_type", "is_conflict", "received_at")
    list_filter = (TypeFilter, "is_conflict")
    exclude = ("dedup_key", "update_type")
    readonly_fields = ("shown_type",)

    @display(description=_("type"), ordering="update_type")
    def shown_type(self, repeat: DuplicateDelivery) -> str:
        return repeat.display_type


@admin.register(Replay)
class ReplayAdmin(LargeTableAdmin):
    list_display = ("at", "by", "count", "selection", "reason")
    search_fields = ("by", "reason", "selection")


@admin.register(PayloadAccess)
class PayloadAccessAdmin(LargeTableAdmin, RenamedModelAdmin):
    list_display = ("at", "by", "inbox_update_id", "update_type", "reason")
    search_fields = ("by", "reason")
