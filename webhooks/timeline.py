"""The timeline of an update: what happened to it, in order, for the operators of the inbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from webhooks.models import InboxUpdate, Replay, State

# A replay of many updates is one statement, and its record is written after it.
_REPLAY_RECORDED_WITHIN = timedelta(minutes=1)
_TONES = {State.DONE: "good", State.DEAD: "bad", State.QUARANTINED: "bad"}


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """``tone`` is a colour of the pages: good, wait, bad, info. ``is_code`` marks the text of an error."""

    title: str
    at: datetime | None = None
    text: str = ""
    tone: str = "info"
    is_code: bool = False


def timeline_of(update: InboxUpdate) -> list[TimelineEvent]:
    """Return the receipt of an update, its last replay, its failed tries, its end and its effect."""
    events = [TimelineEvent(_("Received"), update.received_at, update.display_type)]
    # A receipt sets next_try_at to its own time, and so does a replay.
    replayed_at = update.next_try_at
    if not update.tries and replayed_at > update.received_at:
        records = Replay.objects.filter(at__gte=replayed_at, at__lt=replayed_at + _REPLAY_RECORDED_WITHIN)
        replay = records.order_by("at").first()
        events.append(TimelineEvent(_("Replayed"), replayed_at, f"{replay.by}: {replay.reason}" if replay else ""))
    if update.tries:
        title = ngettext("%d failed try", "%d failed tries", update.tries) % update.tries
        events.append(TimelineEvent(title, None, update.error.rstrip().rpartition("\n")[2], "wait", is_code=True))
    if update.state == State.PENDING:
        return [*events, TimelineEvent(_("Next try"), update.next_try_at)]
    took = "" if update.processing_ms is None else _("took %s ms") % number_format(update.processing_ms, 1)
    text = " · ".join(part for part in (update.display_reason, took) if part)
    tone = _TONES.get(State(update.state), "wait")
    events.append(TimelineEvent(update.get_state_display(), update.finished_at, text, tone))
    if update.state == State.DONE:
        events.append(_effect(update))
    return events


def _effect(update: InboxUpdate) -> TimelineEvent:
    if update.has_changed_profile:
        return TimelineEvent(_("Profile changed"), None, update.user_id, "good")
    if update.has_names:
        return TimelineEvent(_("Profile unchanged"), None, _("The profile already had these names or newer ones."))
    return TimelineEvent(_("No effect"), None, _("The update contains no names."))
