"""The audit log: the latest rows of every append-only table, merged by time, with one query per table."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib import audit_log
from employees.models import BackfillRun
from profiles.models import Erasure, PersonExport
from profiles.rollout import presenters
from profiles.rollout.models import Change
from profiles.rollout.presenters import audit_rows
from webhooks.models import PayloadAccess, Replay
from webhooks.selections import in_words

_NAMED_BY_CODE = {("rollout", "flag"), ("waffle", "switch"), ("auth", "group")}
# Django's log names these objects in the language of the user who changed them, so the audit log shows their IDs.
_TRANSLATED = {("rollout", "universityrule"), ("monitoring", "signature"), ("employees", "backfillrun")}


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
    """A table whose rows appear in the audit log.

    ``at`` and ``by`` are the lookups for a row's time and user name; ``entry_of`` converts a row to an Entry.
    """

    title: Promise
    rows: Callable[[], QuerySet[Any]]
    at: str
    by: str
    entry_of: Callable[[Any], Entry]


def _change(row: Change) -> Entry:
    url = reverse("admin:rollout_change_change", args=[row.pk])
    what = audit_rows.change(row) + (f" · {_('forced')}" if row.is_forced else "")
    return Entry(row.at, audit_rows.authors(row), "rollout", what, audit_rows.reasons(row), url)


def _replay(row: Replay) -> Entry:
    params = {"count": row.count, "selection": in_words(row.selection)}
    what = _("Replayed updates: %(count)d, selection: %(selection)s") % params
    if row.cancels_id:
        what = _("Cancelled replay of updates: %(count)d, selection: %(selection)s") % params
    url = reverse("admin:webhooks_replay_change", args=[row.pk])
    return Entry(row.at, row.by, "replay", what, row.reason, url)


def _payload_access(row: PayloadAccess) -> Entry:
    url = reverse("admin:webhooks_inboxupdate_change", args=[row.inbox_update_id])
    return Entry(row.at, row.by, "look", f"{row.update_type} {row.inbox_update_id}", row.reason, url)


def _erasure(row: Erasure) -> Entry:
    url = reverse("admin:profiles_erasure_change", args=[row.pk])
    return Entry(row.at, row.by, "erasure", row.person[:12], row.reason, url)


def _person_export(row: PersonExport) -> Entry:
    return Entry(row.at, row.by, "export", row.person[:12])


def _backfill(row: BackfillRun) -> Entry:
    params = {"n": row.pk, "university": row.university or _("all universities")}
    text = _("Backfill %(n)d: employees without a name, %(university)s")
    if row.replaces_names:
        text = _("Backfill %(n)d: employees without a name or with a name from the direct API, %(university)s")
    url = reverse("admin:employees_backfillrun_change", args=[row.pk])
    return Entry(row.created_at, row.started_by, "backfill", text % params, row.reason, url)


def _signatures() -> QuerySet[Any]:
    # Looked up by name, not imported, because the model belongs to a higher layer.
    model: Any = apps.get_model("monitoring", "Signature")
    signatures: QuerySet[Any] = model.objects.select_related("by")
    return signatures


def _signature(row: Any) -> Entry:
    return Entry(row.signed_at, str(row.by), "signature", str(row), row.note)


def _log_entry(row: LogEntry) -> Entry:
    content_type: Any = row.content_type
    kind, key = (content_type.name, content_type.natural_key()) if content_type else ("", ())
    message = audit_log.message_of(row)
    if message and row.object_id:
        what, reason = f"{kind} {row.object_id}", str(message)
    elif message:
        what, reason = str(message), ""
    else:
        name = row.object_repr
        if key in _NAMED_BY_CODE:
            name = presenters.name_of(name)
        elif key in _TRANSLATED:
            name = str(row.object_id)
        what = f"{kind}: {name}" if row.object_id else name
        reason = _("Deleted") if row.is_deletion() else audit_log.display_change(row)
    url = (row.get_admin_url() or "") if message else ""
    return Entry(row.action_time, str(row.user), "admin", what, "" if reason == what else reason, url)


SOURCES = {
    "rollout": Source(gettext_lazy("rollout"), Change.objects.all, "at", "by", _change),
    "backfill": Source(
        gettext_lazy("backfills"),
        lambda: BackfillRun.objects.exclude(started_by="").select_related("university"),
        "created_at",
        "started_by",
        _backfill,
    ),
    "replay": Source(gettext_lazy("replays"), Replay.objects.all, "at", "by", _replay),
    "look": Source(gettext_lazy("payload accesses"), PayloadAccess.objects.all, "at", "by", _payload_access),
    "erasure": Source(gettext_lazy("erasures"), Erasure.objects.all, "at", "by", _erasure),
    "export": Source(gettext_lazy("exports of people's data"), PersonExport.objects.all, "at", "by", _person_export),
    "signature": Source(gettext_lazy("signatures"), _signatures, "signed_at", "by__username", _signature),
    "admin": Source(
        gettext_lazy("changes in the admin"),
        lambda: LogEntry.objects.select_related("user", "content_type"),
        "action_time",
        "user__username",
        _log_entry,
    ),
}


def entries(*, kind: str = "", by: str = "", before: datetime | None = None, limit: int = 100) -> list[Entry]:
    """Return the latest entries, newest first.

    ``kind`` selects entries of one kind. ``by`` selects entries of users whose name contains this text. ``before``
    selects entries before this time.
    """
    chosen = [SOURCES[kind]] if kind in SOURCES else list(SOURCES.values())
    latest = (_latest(source, by, before, limit) for source in chosen)
    return list(heapq.merge(*latest, key=lambda entry: -entry.at.timestamp()))[:limit]


def _latest(source: Source, by: str, before: datetime | None, limit: int) -> Iterator[Entry]:
    user = Q(**{f"{source.by}__icontains": by}) if by else Q()
    until = Q(**{f"{source.at}__lt": before}) if before else Q()
    return map(source.entry_of, source.rows().filter(user, until).order_by(f"-{source.at}")[:limit])
