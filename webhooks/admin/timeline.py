"""What became of an update, step by step, and which updates died of one error: for those who look after the inbox."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Func, Max, Min, Q, QuerySet, TextField, Value
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from profiles import failures
from webhooks.models import InboxUpdate, PayloadAccess, Replay, State, type_for_people
from webhooks.payloads import MalformedUpdate, parse

MOST_GROUPS = 100
# A replay of many updates is one statement; its record comes after it.
_WRITES_WITHIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    title: str
    at: datetime | None = None
    text: str = ""
    # As the screens colour it: good, wait, bad, info.
    tone: str = "info"
    # The text is an error's own, which nobody translates.
    is_code: bool = False


def timeline_of(update: InboxUpdate) -> list[TimelineEvent]:
    """Return the steps of an update's life in their order: received, tried, finished, and what came of it."""
    steps = [TimelineEvent(_("Received"), update.received_at, update.display_type), *_replays(update)]
    if update.tries:
        failed = ngettext("%d failed try", "%d failed tries", update.tries) % update.tries
        steps.append(TimelineEvent(failed, None, last_line(update.error), "wait", is_code=True))
    if update.state == State.PENDING:
        return [*steps, TimelineEvent(_("Next try"), update.next_try_at)]
    # What was not read has no effect of its own: why is told by its end.
    return [*steps, _end(update), _effect(update)] if update.state == State.DONE else [*steps, _end(update)]


def _replays(update: InboxUpdate) -> list[TimelineEvent]:
    """Return the last replay: it sets ``next_try_at`` to its moment, where a receipt sets it to its own (models)."""
    at = update.next_try_at
    if update.tries or at <= update.received_at:
        return []
    replay = Replay.objects.filter(at__gte=at, at__lt=at + _WRITES_WITHIN).order_by("at").first()
    return [TimelineEvent(_("Replayed"), at, f"{replay.by}: {replay.reason}" if replay else "")]


_TONES = {State.DONE: "good", State.DEAD: "bad", State.QUARANTINED: "bad"}


def _end(update: InboxUpdate) -> TimelineEvent:
    took = "" if update.processing_ms is None else _("took %s ms") % number_format(update.processing_ms, 1)
    text = " · ".join(part for part in (update.display_reason, took) if part)
    return TimelineEvent(update.get_state_display(), update.finished_at, text, _TONES.get(State(update.state), "wait"))


def _effect(update: InboxUpdate) -> TimelineEvent:
    if update.has_changed_profile:
        return TimelineEvent(_("Profile changed"), None, update.user_id, "good")
    if update.has_names:
        return TimelineEvent(_("Profile unchanged"), None, _("it knew all of this, or something later"))
    return TimelineEvent(_("No effect"), None, _("the update says nothing of a person’s name"))


def last_line(error: str) -> str:
    return error.rstrip().rpartition("\n")[2]


def views_of(update: InboxUpdate) -> QuerySet[PayloadAccess]:
    return PayloadAccess.objects.filter(inbox_update_id=update.pk)


def parse_message(body: bytes) -> str:
    """Return a body as text, laid out where it is JSON; half a surrogate pair, which is no text, as its escape."""
    try:
        text = json.dumps(parse(body), ensure_ascii=False, indent=2)
    except (MalformedUpdate, RecursionError):
        return body.decode(errors="replace")
    return text.encode(errors="backslashreplace").decode()


_LAST_LINE = Func("error", Value("[^\n]*\n*$"), function="substring", output_field=TextField())


def dead_letter_groups() -> list[dict[str, Any]]:
    """Return the dead letters by error and type, the largest group first."""
    dead = InboxUpdate.objects.filter(state=State.DEAD).order_by()
    groups = dead.values("reason", "update_type").annotate(
        count=Count("pk"),
        replayable=Count("pk", filter=Q(body__isnull=False)),
        first=Min("finished_at"),
        last=Max("finished_at"),
        example=Max(_LAST_LINE),
    )
    return [
        group | {"told": failures.message_for(group["reason"]), "display_type": type_for_people(group["update_type"])}
        for group in groups.order_by("-count", "reason", "update_type")[:MOST_GROUPS]
    ]
