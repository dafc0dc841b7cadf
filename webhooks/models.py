from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, NamedTuple

from django.db import connection, models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class State(models.TextChoices):
    PENDING = "pending", _("pending")
    DONE = "done", _("done")
    SKIPPED = "skipped", _("skipped: collection was off")
    QUARANTINED = "quarantined", _("quarantined: not an update")
    DEAD = "dead", _("dead letter")


class Arrival(NamedTuple):
    """One update as it is written into the inbox; ``reason`` is why it is quarantined, else ``""``."""

    dedup_key: bytes
    body: bytes
    update_type: str
    reason: str
    received_at: datetime


_STORE = """
INSERT INTO webhook_inbox (dedup_key, body, update_type, state, reason, received_at, finished_at, user_id, tries,
    error, has_names, has_changed_profile)
SELECT key, body, update_type, CASE WHEN reason = '' THEN 'pending' ELSE 'quarantined' END, reason, received_at,
       CASE WHEN reason = '' THEN NULL ELSE received_at END, '', 0, '', false, false
FROM unnest(%s::bytea[], %s::bytea[], %s::text[], %s::text[], %s::timestamptz[])
    AS arrival (key, body, update_type, reason, received_at)
ON CONFLICT (dedup_key) DO NOTHING
RETURNING dedup_key
"""


_WORKED_ON = ("state", "reason", "user_id", "has_names", "has_changed_profile", "processing_ms", "finished_at")


class InboxQuerySet(models.QuerySet["InboxUpdate"]):
    def store(self, arrivals: Sequence[Arrival]) -> int:
        """Write arrivals, all or none, by one statement; return how many were new. Repeats are counted."""
        unique = {arrival.dedup_key: arrival for arrival in arrivals}
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_STORE, [list(column) for column in zip(*unique.values(), strict=True)])
            stored = {bytes(key) for (key,) in cursor.fetchall()}
            if len(stored) < len(arrivals):
                Repeat.objects.bulk_create(_repeats(arrivals, stored))
        return len(stored)

    def pending(self) -> InboxQuerySet:
        return self.filter(state=State.PENDING)

    def take(self, limit: int) -> list[InboxUpdate]:
        """Lock up to ``limit`` pending updates for this transaction, passing over what other workers hold."""
        return list(self.pending().order_by("id").select_for_update(skip_locked=True)[:limit])

    def finish(self, updates: Sequence[InboxUpdate]) -> None:
        """Write back state, reason and person of updates that were worked on."""
        now = timezone.now()
        for update in updates:
            update.finished_at = now
        self.bulk_update(updates, _WORKED_ON)


def _repeats(arrivals: Sequence[Arrival], stored: set[bytes]) -> list[Repeat]:
    first_seen = set(stored)
    repeats = []
    for arrival in arrivals:
        if arrival.dedup_key in first_seen:
            first_seen.discard(arrival.dedup_key)
        else:
            repeats.append(Repeat(update_type=arrival.update_type, received_at=arrival.received_at))
    return repeats


class InboxUpdate(models.Model):
    """An update as the messenger sent it, kept before anything works on it."""

    dedup_key = models.BinaryField(max_length=32)
    body = models.BinaryField(_("body"), null=True)
    update_type = models.CharField(_("type"), max_length=40)
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.PENDING)
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="")
    user_id = models.CharField(_("MAX id"), max_length=64, blank=True, default="")
    has_names = models.BooleanField(_("carries names"), default=False)
    has_changed_profile = models.BooleanField(_("changed the profile"), default=False)
    received_at = models.DateTimeField(_("received at"))
    finished_at = models.DateTimeField(_("finished at"), null=True)
    processing_ms = models.FloatField(_("processing time, ms"), null=True)
    tries = models.SmallIntegerField(_("tries"), default=0)
    error = models.TextField(_("error"), blank=True, default="")

    objects: ClassVar[InboxQuerySet] = InboxQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "webhook_inbox"
        verbose_name = _("update")
        verbose_name_plural = _("updates")
        indexes: ClassVar = [
            models.Index(fields=["id"], name="webhook_inbox_pending", condition=Q(state="pending")),
            models.Index(fields=["received_at"], name="webhook_inbox_received_at"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["dedup_key"], name="webhook_inbox_dedup_key"),
        ]

    def __str__(self) -> str:
        return f"{self.update_type} {self.pk}"


class Repeat(models.Model):
    """A delivery of an update that the inbox already had."""

    update_type = models.CharField(_("type"), max_length=40)
    received_at = models.DateTimeField(_("received at"), db_index=True)

    class Meta:
        db_table = "webhook_repeats"
        verbose_name = _("repeated delivery")
        verbose_name_plural = _("repeated deliveries")

    def __str__(self) -> str:
        return f"{self.update_type} {self.received_at:%F %T}"
