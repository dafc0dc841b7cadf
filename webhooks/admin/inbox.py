import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus, urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Func, Max, Min, Q, QuerySet, TextField, Value
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter, RangeDateTimeFilter, TextFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from config.lib import audit_log, shell_user, times
from config.lib.admin import GlobalScopeAdmin, ReadOnlyAdmin, RenamedModelAdmin, column
from config.lib.http.pagination import BoundedPaginator
from config.lib.messages import Message
from config.lib.scope import requires_global_scope
from profiles import failures
from profiles.rollout.presenters import duration
from webhooks import body_search, selections
from webhooks.models import (
    DuplicateDelivery,
    InboxQuerySet,
    InboxUpdate,
    PayloadAccess,
    Replay,
    ReplayRefused,
    State,
    display_type,
)
from webhooks.payloads import TYPES, MalformedUpdate, parse

_STATE_COLOURS = {
    State.PENDING: "info",
    State.DONE: "success",
    State.SKIPPED: "warning",
    State.QUARANTINED: "warning",
    State.DEAD: "danger",
}
# A replay first sets next_try_at, and writes its Replay row afterwards; the more rows it updates, the later.
_REPLAY_RECORDED_WITHIN = timedelta(minutes=1)
_TONES = {State.DONE: "good", State.DEAD: "bad", State.QUARANTINED: "bad"}
_MOST_GROUPS = 100
_REPLAY = "webhooks_replay"
_LAST_LINE = Func("error", Value("[^\n]*\n*$"), function="substring", output_field=TextField())


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """An event in the history of an update.

    ``tone`` selects a colour: good, wait, bad or info. ``is_code`` is true when ``text`` is an error message.
    """

    title: str
    at: datetime | None = None
    text: str = ""
    tone: str = "info"
    is_code: bool = False


def timeline_of(update: InboxUpdate) -> list[TimelineEvent]:
    """Return the events of an update: receipt, replay, failed attempts, result, and effect on the profile.

    A replay is shown only until the next failed attempt. A pending update has its next attempt instead of a result.
    """
    events = [TimelineEvent(gettext("Received"), update.received_at, update.display_type)]
    # While tries is 0, next_try_at is the time of receipt or, after a replay, the time of the replay.
    replayed_at = update.next_try_at
    if not update.tries and replayed_at > update.received_at:
        records = Replay.objects.filter(at__gte=replayed_at, at__lt=replayed_at + _REPLAY_RECORDED_WITHIN)
        replay = records.order_by("at").first()
        text = f"{shell_user.displayed(replay.by)}: {replay.reason}" if replay else ""
        events.append(TimelineEvent(gettext("Replayed"), replayed_at, text))
    if update.tries:
        title = ngettext("%d failed attempt", "%d failed attempts", update.tries) % update.tries
        events.append(TimelineEvent(title, None, update.error.rstrip().rpartition("\n")[2], "wait", is_code=True))
    if update.state == State.PENDING:
        return [*events, TimelineEvent(gettext("Next attempt"), update.next_try_at)]
    took = "" if update.processing_ms is None else gettext("took %s ms") % number_format(update.processing_ms, 1)
    text = " · ".join(part for part in (update.display_reason, took) if part)
    tone = _TONES.get(State(update.state), "wait")
    events.append(TimelineEvent(update.get_state_display(), update.finished_at, text, tone))
    if update.state == State.DONE:
        events.append(_effect(update))
    return events


def _effect(update: InboxUpdate) -> TimelineEvent:
    if update.has_changed_profile:
        return TimelineEvent(gettext("Profile changed"), None, update.user_id, "good")
    if update.has_names:
        text = gettext("The profile already had these or newer names.")
        return TimelineEvent(gettext("Profile unchanged"), None, text)
    return TimelineEvent(gettext("No effect"), None, gettext("The update contains no names."))


class ReasonForm(forms.Form):
    reason = forms.CharField(label=_("reason"), max_length=500, widget=UnfoldAdminTextInputWidget)


class TypeFilter(DropdownFilter):
    """Filter by update type; offer all known types, because finding those that occur would need a full table scan."""

    title = _("type")
    parameter_name = "update_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, display_type(name)) for name in TYPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[InboxUpdate]) -> QuerySet[InboxUpdate]:
        return queryset.filter(update_type=self.value()) if self.value() else queryset


class ReceivedFilter(RangeDateTimeFilter):
    """Filter by time of receipt; an invalid time matches no rows.

    Unfold's own filter ignores an invalid time, so a replay of the filtered list would include every update.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title: str = f"{self.title} ({times.zone()})"

    def queryset(self, request: HttpRequest, queryset: QuerySet[InboxUpdate]) -> QuerySet[InboxUpdate]:
        try:
            since, until = selections.received_between(self.used_parameters)
        except forms.ValidationError:
            return queryset.none()
        queryset = queryset.filter(received_at__gte=since) if since else queryset
        return queryset.filter(received_at__lte=until) if until else queryset


class BodyFilter(TextFilter):
    """Filter by a string in the body, for users who may see bodies; record each search, but not the string."""

    title = _("text in the update's body")
    parameter_name = selections.BODY

    def queryset(self, request: HttpRequest, queryset: QuerySet[InboxUpdate]) -> QuerySet[InboxUpdate]:
        text = (self.value() or "").strip()
        if not text:
            return queryset
        audit_log.record(request, Message("Searched the bodies of updates for a text"), InboxUpdate)
        found = body_search.search(queryset, text)
        if found.left_out:
            messages.warning(request, found.left_out)
        return queryset.filter(pk__in=found.ids)


class LargeTableAdmin(GlobalScopeAdmin, ReadOnlyAdmin):
    """Base class for the admin of tables with millions of rows; no page may count or sort all rows."""

    paginator = BoundedPaginator
    # Half of Django's default of 100, because the theme renders a template for each badge.

    @display(description=_("type"), ordering="update_type")
    def display_type(self, row: InboxUpdate | DuplicateDelivery) -> str:
        return display_type(row.update_type)


@admin.register(InboxUpdate)
class InboxUpdateAdmin(LargeTableAdmin):
    list_display = (
        "id", "display_type", "display_state", "user_id", "display_received_at", "display_duration", "tries",
        "display_reason", "request_id",
    )  # fmt: skip
    list_before_template = "admin/inbox_histogram.html"
    # The other columns have no index for sorting, and IDs increase with the time of receipt anyway.
    sortable_by = ("id",)
    list_filter = ("state", TypeFilter, ("received_at", ReceivedFilter))
    list_filter_submit = True
    display_received_at = column(_("received at"), lambda update: times.element(update.received_at))
    display_duration = column(_("duration"), lambda update: _length(update.received_at, update.finished_at))
    search_fields = ("user_id",)
    search_help_text = _("MAX ID of a person, or update number")
    # The body is personal data: it is shown only by raw_body(), which records the access.
    exclude = ("body", "dedup_key", "before_replay")
    actions = ("replay_selected",)
    actions_list = ("dead_letters", "replay_result")
    actions_detail = ("replay_one", "raw_body")
    change_form_template = "webhooks/update.html"

    def has_replay_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return bool(request.user.has_perm("webhooks.add_replay") and self.has_view_permission(request))

    def has_raw_body_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return bool(request.user.has_perm("webhooks.view_raw_body") and self.has_view_permission(request))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # A filter by a part of the body would reveal it to users who may not see it.
        return lookup.partition("__")[0] not in self.exclude and super().lookup_allowed(lookup, value, request)

    def get_queryset(self, request: HttpRequest) -> InboxQuerySet:
        updates: Any = super().get_queryset(request)
        return updates.defer("body", "dedup_key", "before_replay")  # type: ignore[no-any-return]

    def get_list_filter(self, request: HttpRequest) -> Any:
        # BodyFilter is the last filter, so that it searches only the updates that the other filters have left.
        return (*self.list_filter, BodyFilter) if self.has_raw_body_permission(request) else self.list_filter

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search for updates with exactly this MAX ID; if there are none, search for the update with this number."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        of_person = queryset.filter(user_id=term)
        if term.isdecimal() and len(term) <= 18 and not of_person.exists():
            return queryset.filter(pk=int(term)), False
        return of_person, False

    @display(description=_("state"), ordering="state", label=_STATE_COLOURS)
    def display_state(self, update: InboxUpdate) -> tuple[str, str]:
        return update.state, update.get_state_display()

    @display(description=_("reason"))
    def display_reason(self, update: InboxUpdate) -> str:
        return update.display_reason

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, *args, **kwargs)
        if isinstance(response, TemplateResponse) and response.context_data:
            for button in response.context_data["actions_list"]:
                button["path"] += f"?{request.GET.urlencode()}"
        return response

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().change_view(request, *args, **kwargs)
        if isinstance(response, TemplateResponse) and response.context_data:
            update = response.context_data["original"]
            response.context_data |= {
                "timeline": timeline_of(update),
                "payload_accesses": PayloadAccess.objects.filter(inbox_update_id=update.pk)[:20],
                "has_body": InboxUpdate.objects.filter(pk=update.pk, body__isnull=False).exists(),
            }
        return response

    @action(description=_("Dead letters"), url_path="dead-letters", permissions=["view"])
    def dead_letters(self, request: HttpRequest) -> HttpResponse:
        dead = InboxUpdate.objects.filter(state=State.DEAD).order_by()
        groups = dead.values("reason", "update_type").annotate(
            count=Count("pk"),
            replayable=Count("pk", filter=Q(body__isnull=False)),
            first=Min("finished_at"),
            last=Max("finished_at"),
            example=Max(_LAST_LINE),
        )
        shown = []
        for group in groups.order_by("-count", "reason", "update_type")[:_MOST_GROUPS]:
            selection = {"reason": group["reason"], "update_type": group["update_type"]}
            query = urlencode({"state__exact": State.DEAD.value} | selection)
            texts = {
                "display_reason": failures.message_for(group["reason"]),
                "display_type": display_type(group["update_type"]),
            }
            urls = {"list_url": f"{_list_url()}?{query}", "replay_url": _replay_url(query)}
            shown.append(group | texts | urls)
        context = {"groups": shown, "may_replay": self.has_replay_permission(request)}
        return self._page(request, "webhooks/dead_letters.html", _("Dead letters by error"), context)

    @action(description=_("Replay selected updates"), permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: InboxQuerySet) -> HttpResponse:
        is_whole_result = request.POST.get("select_across") == "1" and request.GET
        ids = ",".join(map(str, queryset.values_list("pk", flat=True)))
        return HttpResponseRedirect(_replay_url(request.GET.urlencode() if is_whole_result else f"id__in={ids}"))

    @action(description=_("Replay"), url_path="replay-one", permissions=["replay"])
    def replay_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(_replay_url(f"id__in={object_id}"))

    @action(description=_("Replay filtered updates"), url_path="replay", permissions=["replay"])
    def replay_result(self, request: HttpRequest) -> HttpResponse:
        updates = self._filtered(request)
        if updates is None:
            messages.error(request, _("Filter the list first. Without a filter, all updates would be replayed."))
            return HttpResponseRedirect(_list_url())
        query = request.GET.copy()
        if selections.BODY in query:
            query[selections.BODY] = "…"
        selection = unquote_plus(query.urlencode())[:500]
        form = ReasonForm(request.POST or None)
        if form.is_valid():
            with transaction.atomic():
                reason, by = form.cleaned_data["reason"], request.user.get_username()
                replay = updates.replay(by=by, reason=reason, selection=selection)
            count = replay.count
            queued = ngettext("%d update is back in the queue.", "%d updates are back in the queue.", count) % count
            messages.success(request, queued)
            may_follow = request.user.has_perm("webhooks.view_replay")
            return HttpResponseRedirect(_replay_page(replay) if may_follow else _list_url())
        context = {"form": form, "preview": updates.replay_preview(), "selection": selections.in_words(selection)}
        return self._page(request, "webhooks/replay.html", _("Replay updates"), context)

    def _filtered(self, request: HttpRequest) -> Any:
        """Return the updates that match the request's filters and search.

        Return None if the request has neither a filter nor a search, or if a filter is invalid.
        """
        try:
            changelist = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return None
        values = [value for given in changelist.get_filters_params().values() for value in given]
        return changelist.queryset if any(values) or changelist.query else None

    @action(description=_("Show the update's body"), url_path="raw-body", permissions=["raw_body"])
    def raw_body(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the body of an update after the user has entered a reason; record the access before showing the body."""
        update = self.get_object(request, object_id)
        if update is None:
            raise Http404
        form = ReasonForm(request.POST or None)
        body = None
        if form.is_valid():
            by, reason = request.user.get_username(), form.cleaned_data["reason"]
            access = PayloadAccess(by=by, reason=reason, inbox_update_id=update.pk, update_type=update.update_type)
            access.save()
            body = _readable(bytes(update.body or b""))
        context = {"form": form, "body": body, "update": update, "is_pruned": update.body is None}
        return self._page(request, "webhooks/raw_body.html", _("Body of update %d") % update.pk, context)

    def _page(self, request: HttpRequest, template: str, title: Any, context: dict[str, Any]) -> TemplateResponse:
        frame = {**self.admin_site.each_context(request), "title": title, "opts": self.opts}
        return TemplateResponse(request, template, frame | context)


def _list_url() -> str:
    return reverse("admin:webhooks_inboxupdate_changelist")


def _length(start: datetime, end: datetime | None) -> str:
    """Return the time from start to end, with two decimals if it is under ten seconds; a dash if there is no end."""
    if end is None:
        return "—"
    length = max(end - start, timedelta())
    is_short = length < timedelta(seconds=10)
    return f"{number_format(length.total_seconds(), 2)}\u00a0{gettext('s')}" if is_short else duration(length)


def _replay_page(replay: Replay) -> str:
    return reverse("admin:webhooks_replay_change", args=[replay.pk])


def _replay_url(query: str) -> str:
    return f"{reverse('admin:webhooks_inboxupdate_replay_result')}?{query}"


def _readable(body: bytes) -> str:
    """Return a body as text: JSON is indented, and unpaired surrogates are shown as escape sequences."""
    try:
        text = json.dumps(parse(body), ensure_ascii=False, indent=2)
    except (MalformedUpdate, RecursionError):
        return body.decode(errors="replace")
    return text.encode(errors="backslashreplace").decode()


@admin.register(DuplicateDelivery)
class DuplicateDeliveryAdmin(LargeTableAdmin, RenamedModelAdmin):
    list_display = ("display_type", "is_conflict", "received_at")
    list_filter = (TypeFilter, "is_conflict")
    exclude = ("dedup_key", "update_type")
    readonly_fields = ("display_type",)


@admin.register(Replay)
class ReplayAdmin(LargeTableAdmin):
    list_display = fields = ("at", "display_by", "display_action", "count", "display_selection", "reason")
    search_fields = ("by", "reason", "selection")
    readonly_fields = ("display_by", "display_action", "display_selection")
    change_form_template = "webhooks/replay_page.html"
    display_by = column(_("by"), lambda replay: shell_user.displayed(replay.by), "by")
    display_action = column(
        _("action"), lambda replay: gettext("Replay cancelled") if replay.cancels_id else gettext("Replayed")
    )
    display_selection = column(_("selection"), lambda replay: selections.in_words(replay.selection), "selection")

    def get_urls(self) -> list[Any]:
        pages = [
            path(f"<int:pk>/{name}/", requires_global_scope(self.admin_site.admin_view(view)), name=f"{_REPLAY}_{name}")
            for name, view in (("progress", self.progress_view), ("cancel", self.cancel_view))
        ]
        return [*pages, *super().get_urls()]

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().change_view(request, *args, **kwargs)
        if isinstance(response, TemplateResponse) and response.context_data:
            response.context_data |= self._progress(request, response.context_data["original"])
        return response

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Return only the progress section of a replay's page, which the page reloads while updates are waiting."""
        context = self._progress(request, self._replay(request, pk))
        return TemplateResponse(request, "webhooks/replay_progress.html", context)

    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Cancel the replay for the updates that are still waiting, after the user has entered a reason."""
        replay = self._replay(request, pk)
        if not request.user.has_perm("webhooks.add_replay"):
            raise PermissionDenied
        form = ReasonForm(request.POST or None)
        if form.is_valid():
            try:
                cancelled = replay.cancel(by=request.user.get_username(), reason=form.cleaned_data["reason"])
                count = cancelled.count
                text = ngettext(
                    "%d update has returned to its previous state.",
                    "%d updates have returned to their previous state.",
                    count,
                )
                messages.success(request, text % count)
            except ReplayRefused as refused:
                messages.error(request, str(refused))
            return HttpResponseRedirect(_replay_page(replay))
        frame = {**self.admin_site.each_context(request), "title": gettext("Cancel the replay"), "opts": self.opts}
        context = {"form": form, "replay": replay, "page": _replay_page(replay), "waiting": replay.waiting}
        return TemplateResponse(request, "webhooks/replay_cancel.html", frame | context)

    def _replay(self, request: HttpRequest, pk: int) -> Replay:
        replay: Replay | None = self.get_object(request, str(pk))
        if replay is None:
            raise Http404
        if not self.has_view_permission(request, replay):
            raise PermissionDenied
        return replay

    def _progress(self, request: HttpRequest, replay: Replay) -> dict[str, Any]:
        cancelled = sum(replay.cancellations.values_list("count", flat=True))
        waiting = replay.waiting
        processed = max(replay.count - waiting - cancelled, 0)
        return {
            "replay": replay,
            "waiting": waiting,
            "cancelled": cancelled,
            "processed": processed,
            "percent": 100 * (processed + cancelled) // replay.count if replay.count else 100,
            "may_cancel": waiting and request.user.has_perm("webhooks.add_replay"),
        }


@admin.register(PayloadAccess)
class PayloadAccessAdmin(LargeTableAdmin, RenamedModelAdmin):
    list_display = ("at", "by", "inbox_update_id", "update_type", "reason")
    search_fields = ("by", "reason")
