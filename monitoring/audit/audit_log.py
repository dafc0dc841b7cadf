"""The audit trail: what every append-only table has recorded, the latest first, from as many queries as tables."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib import audit_log
from monitoring.audit import admin_labels
from monitoring.rollout_control.models import Signature
from profiles.models.tombstones import Erasure
from profiles.rollout import presenters
from profiles.rollout.models import Change
from webhooks.models import PayloadAccess, Replay


@dataclass(frozen=True, slots=True)
class Entry:
    at: datetime
    by: str
    kind: str
    what: str
    reason: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A table of records: its rows with the names of their moment and person, and how one of them reads."""

    title: Any
    icon: str
    rows: Callable[[], QuerySet[Any]]
    at: str
    by: str
    read: Callable[[Any], Entry]


def _change(row: Change) -> Entry:
    url = reverse("admin:rollout_change_change", args=[row.pk])
    return Entry(row.at, presenters.actor(row.by), "rollout", presenters.change(row), row.text, url)


def _replay(row: Replay) -> Entry:
    told = {"count": row.count, "selection": row.selection}
    return Entry(row.at, row.by, "replay", _("Updates replayed: %(count)d, of %(selection)s") % told, row.reason)


def _look(row: PayloadAccess) -> Entry:
    url = reverse("admin:webhooks_inboxupdate_change", args=[row.inbox_update_id])
    return Entry(row.at, row.by, "look", f"{row.update_type} {row.inbox_update_id}", row.reason, url)


def _erasure(row: Erasure) -> Entry:
    url = reverse("admin:profiles_erasure_change", args=[row.pk])
    return Entry(row.at, row.by, "erasure", row.person[:12], row.reason, url)


def _signature(row: Signature) -> Entry:
    return Entry(row.signed_at, str(row.by), "signature", str(row), row.note)


def _name(row: LogEntry) -> str:
    """Return what Django's log calls an object: by its title, by its number where its text is of the actor's words."""
    about: Any = row.content_type
    model = about and about.model_class()
    if model in admin_labels.CODED:
        return presenters.name_of(row.object_repr)
    return str(row.object_id) if model in admin_labels.WORDED else row.object_repr


def _log(row: LogEntry) -> Entry:
    """Tell in the reader's language what was recorded as a sentence, and what Django's log keeps a code of."""
    message = audit_log.message_of(row)
    # The type's own text names its app too.
    kind = str(row.content_type.name) if row.content_type else ""  # type: ignore[attr-defined]
    if message:
        about = f"{kind} {row.object_id}" if row.object_id else str(message)
        reason = str(message) if row.object_id else ""
        return Entry(row.action_time, str(row.user), "admin", about, reason, row.get_admin_url() or "")
    what = f"{kind}: {_name(row)}" if row.object_id else row.object_repr
    reason = _("Deleted") if row.is_deletion() else audit_log.display_change(row)
    return Entry(row.action_time, str(row.user), "admin", what, reason if reason != what else "")


SOURCES = {
    "rollout": Source(gettext_lazy("rollout"), "stairs", Change.objects.all, "at", "by", _change),
    "replay": Source(gettext_lazy("replays"), "replay", Replay.objects.all, "at", "by", _replay),
    "look": Source(gettext_lazy("looks at bodies"), "visibility", PayloadAccess.objects.all, "at", "by", _look),
    "erasure": Source(gettext_lazy("erasures"), "person_remove", Erasure.objects.all, "at", "by", _erasure),
    "signature": Source(
        gettext_lazy("signatures"),
        "signature",
        lambda: Signature.objects.select_related("by"),
        "signed_at",
        "by__username",
        _signature,
    ),
    "admin": Source(
        gettext_lazy("changes in the admin"),
        "edit",
        lambda: LogEntry.objects.select_related("user", "content_type"),
        "action_time",
        "user__username",
        _log,
    ),
}


def entries(*, kind: str = "", by: str = "", before: datetime | None = None, limit: int = 100) -> list[Entry]:
    """Return the latest entries before a moment, of one kind or all, of one person or all."""
    chosen = [SOURCES[kind]] if kind in SOURCES else list(SOURCES.values())
    return list(heapq.merge(*(_latest(source, by, before, limit) for source in chosen), key=_newest_first))[:limit]


def _newest_first(entry: Entry) -> float:
    return -entry.at.timestamp()


def _latest(source: Source, by: str, before: datetime | None, limit: int) -> Iterator[Entry]:
    of_person = Q(**{f"{source.by}__icontains": by}) if by else Q()
    until = Q(**{f"{source.at}__lt": before}) if before else Q()
    return map(source.read, source.rows().filter(of_person, until).order_by(f"-{source.at}")[:limit])
