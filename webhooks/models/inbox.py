from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from django.contrib.postgres.indexes import BrinIndex
from django.db import models, transaction
from django.db.models import Q
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce, JSONObject, Now
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from config.lib import clock, shell_user, sql, times
from profiles import failures


class State(models.TextChoices):
    PENDING = "pending", _("pending")
    DONE = "done", _("done")
    SKIPPED = "skipped", _("skipped: collection was off")
    QUARANTINED = "quarantined", _("quarantined: not an update")
    DEAD = "dead", _("dead letter")


# Includes all fields that finish() reads, except state and processing_ms, which have been set by then. Reading a field
# that is not loaded would cost a query per row.
_TAKEN = (
    "id", "body", "update_type", "reason", "user_id", "has_names", "has_changed_profile", "received_at", "stored_at",
    "request_id", "tries",
)  # fmt: skip
# The first attempt waits for no clock, because the web server's clock may have been ahead. If a later attempt is
# farther away than the longest pause, a clock has been set back since it was scheduled.
LONGEST_PAUSE = timedelta(minutes=15)
_TAKE = f"""
SELECT {", ".join(_TAKEN)} FROM webhook_inbox
WHERE state = 'pending' AND (tries = 0 OR next_try_at <= %b OR next_try_at > %b)
ORDER BY next_try_at {{0}}, id {{0}} LIMIT %b FOR UPDATE SKIP LOCKED
"""  # noqa: S608 (names of columns)
_TAKE_OLDEST, _TAKE_NEWEST = _TAKE.format("ASC"), _TAKE.format("DESC")
_FINISH = """
UPDATE webhook_inbox AS i SET
    state = w.state, reason = w.reason, user_id = w.user_id, has_names = w.has_names,
    has_changed_profile = w.has_changed_profile, processing_ms = w.processing_ms, error = '', finished_at = now()
FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::boolean[], %b::boolean[], %b::float8[])
    AS w (id, state, reason, user_id, has_names, has_changed_profile, processing_ms)
WHERE i.id = w.id
"""
# The fields that a replay changes, and their types.
_REPLAYED: dict[str, models.Field[Any, Any]] = {
    "state": models.CharField(),
    "reason": models.CharField(),
    "tries": models.SmallIntegerField(),
    "next_try_at": models.DateTimeField(),
    "finished_at": models.DateTimeField(),
}
# The number of latest updates from which the processing time is estimated.
_TIMED = 1000
# How much the clocks of hosts, of PostgreSQL and of MAX may differ.
CLOCK_TOLERANCE = timedelta(minutes=5)
# The property InboxUpdate.time_of_receipt in SQL.
TIME_OF_RECEIPT = models.Case(
    models.When(
        stored_at__gt=models.F("received_at") - CLOCK_TOLERANCE,
        stored_at__lt=models.F("received_at") + CLOCK_TOLERANCE,
        then="received_at",
    ),
    default=Coalesce("stored_at", "received_at"),
    output_field=models.DateTimeField(),
)
# Stored in place of any update type that is not known.
OTHER = "other"
_SETTLED = Q(state__in=["done", "skipped", "quarantined"])
_RARE = ["skipped", "quarantined", "dead"]


def display_type(name: str) -> str:
    """Return MAX's name for an update type, or a translated label for ``other``."""
    return gettext("other type") if name == OTHER else name


class Backlog(NamedTuple):
    size: int
    age: timedelta


class ReplayPreview(NamedTuple):
    """How many selected updates can be replayed, how many have no body, and how many are still pending.

    ``takes`` is the estimated time for one inbox worker to process the updates that can be replayed; None if no update
    has been processed yet.
    """

    replayable: int
    without_body: int
    pending: int
    takes: timedelta | None = None


class ReplayRefused(Exception):
    """Raised if a replay cannot be cancelled; its text is a message for the user."""


class InboxQuerySet(models.QuerySet["InboxUpdate"]):
    def pending(self) -> InboxQuerySet:
        return self.filter(state=State.PENDING)

    def take(self, limit: int, *, newest: bool = False) -> list[InboxUpdate]:
        """Return up to ``limit`` due updates, oldest or ``newest`` first, locked until the transaction ends.

        Updates that another inbox worker has locked are skipped.
        """
        now = timezone.now()
        rows = sql.run(_TAKE_NEWEST if newest else _TAKE_OLDEST, [now, now + LONGEST_PAUSE, limit])
        return [InboxUpdate.from_db(self.db, _TAKEN, row) for row in rows]

    def finish(self, updates: Sequence[InboxUpdate]) -> None:
        """Save the results of updates that take() has locked in this transaction, with one statement."""
        names = ("pk", "state", "reason", "user_id", "has_names", "has_changed_profile", "processing_ms")
        sql.run(_FINISH, [[getattr(update, name) for update in updates] for name in names])

    def replay_preview(self) -> ReplayPreview:
        is_pending = Q(state=State.PENDING)
        counts = self.order_by().aggregate(
            replayable=models.Count("pk", filter=~is_pending & Q(body__isnull=False)),
            without_body=models.Count("pk", filter=~is_pending & Q(body__isnull=True)),
            pending=models.Count("pk", filter=is_pending),
        )
        last = InboxUpdate.objects.filter(processing_ms__isnull=False).order_by("-pk").values("processing_ms")
        each = last[:_TIMED].aggregate(each=models.Avg("processing_ms"))["each"]
        takes = None if each is None else timedelta(milliseconds=each * counts["replayable"])
        return ReplayPreview(**counts, takes=takes)

    def replay(self, *, by: str, reason: str, selection: str) -> Replay:
        """Put finished updates that still have a body back into the queue; return the record of the replay.

        Replaying an update twice is harmless, because merging the same names again changes nothing.
        """
        queued_at = timezone.now()
        values = [State.PENDING, "", 0, queued_at, None]
        earlier = JSONObject(**{name: name for name in _REPLAYED})
        finished = self.exclude(state=State.PENDING).filter(body__isnull=False)
        count = finished.update(**dict(zip(_REPLAYED, values, strict=True)), before_replay=earlier)
        return Replay.objects.create(by=by, reason=reason, selection=selection, count=count, queued_at=queued_at)

    def backlog(self) -> Backlog:
        """Return the number of pending updates, including those waiting for a retry, and the age of the oldest.

        The age of an update counts from its receipt or, until the first attempt after a replay, from the replay.
        """
        # While tries is 0, next_try_at is the time of receipt or, after a replay, the time of the replay.
        since = models.Case(models.When(tries=0, then="next_try_at"), default="received_at")
        totals = self.pending().aggregate(size=models.Count("pk"), oldest=models.Min(since))
        return Backlog(totals["size"], clock.age(totals["oldest"]) if totals["oldest"] else timedelta())


class InboxUpdate(models.Model):
    """An update as MAX sent it, stored before it is processed."""

    dedup_key = models.BinaryField(max_length=32)
    body = models.BinaryField(_("body"), null=True, help_text=_("empty after pruning"))
    update_type = models.CharField(_("type"), max_length=40)
    state = models.CharField(_("state"), max_length=12, choices=State, db_default=State.PENDING)
    reason = models.CharField(_("reason"), max_length=200, blank=True, db_default="")
    user_id = models.CharField(_("MAX ID"), max_length=64, blank=True, db_default="")
    has_names = models.BooleanField(_("contains names"), db_default=False)
    has_changed_profile = models.BooleanField(_("changed the profile"), db_default=False)
    received_at = models.DateTimeField(_("received at"))
    # The time by PostgreSQL's clock, because the host's clock may have been wrong. Rows of earlier releases have none.
    stored_at = models.DateTimeField(null=True, db_default=Now(), editable=False)
    request_id = models.CharField(_("request ID"), max_length=64, blank=True, db_default="")
    finished_at = models.DateTimeField(_("finished at"), null=True)
    processing_ms = models.FloatField(_("processing time, ms"), null=True)
    tries = models.SmallIntegerField(_("failed attempts"), db_default=0)
    next_try_at = models.DateTimeField(_("next try at"))
    error = models.TextField(_("error"), blank=True, db_default="")
    # The former values of the fields that the replay has changed; cancelling the replay restores them.
    before_replay = models.JSONField(null=True, editable=False)

    objects: ClassVar[InboxQuerySet] = InboxQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "webhook_inbox"
        verbose_name = _("update")
        verbose_name_plural = _("updates")
        indexes: ClassVar = [
            models.Index(fields=["next_try_at", "id"], name="webhook_inbox_due", condition=Q(state="pending")),
            # Rows are inserted in the order of this column, so a BRIN index costs an insert almost nothing.
            BrinIndex(fields=["received_at"], name="webhook_inbox_received_at", pages_per_range=16, autosummarize=True),
            # For pruning. None of these indexes contains pending rows, so they do not slow down the receiver.
            models.Index(
                fields=["finished_at"], name="webhook_inbox_with_body", condition=Q(body__isnull=False) & _SETTLED
            ),
            models.Index(fields=["finished_at"], name="webhook_inbox_settled", condition=_SETTLED),
            models.Index(fields=["finished_at"], name="webhook_inbox_dead", condition=Q(state="dead")),
            # For reports: a window may start within a minute, and the rest of that minute is counted from the inbox.
            models.Index(fields=["received_at"], name="webhook_inbox_counted", condition=~Q(state="pending")),
            # For the admin: the updates in a rare state, and all updates from one person.
            models.Index(fields=["state", "-id"], name="webhook_inbox_rare", condition=Q(state__in=_RARE)),
            models.Index(fields=["user_id", "-id"], name="webhook_inbox_person", condition=~Q(user_id="")),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["dedup_key"], name="webhook_inbox_dedup_key"),
            models.CheckConstraint(
                condition=Q(state="pending", finished_at__isnull=True)
                | (~Q(state="pending") & Q(finished_at__isnull=False)),
                name="webhook_inbox_finished_unless_pending",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk}: {self.display_type}"

    @property
    def display_type(self) -> str:
        return display_type(self.update_type)

    @property
    def time_of_receipt(self) -> datetime:
        """Return when the update arrived, by the host's clock or, if they differ by minutes, by PostgreSQL's clock."""
        stored_at = self.stored_at or self.received_at
        return self.received_at if abs(stored_at - self.received_at) < CLOCK_TOLERANCE else stored_at

    @property
    def display_reason(self) -> str:
        """Return the translated reason; the column contains an English text or the class name of an error."""
        return str(failures.message_for(self.reason)) if self.reason else ""


class DuplicateDelivery(models.Model):
    """A repeated delivery of a stored update. Its body is not stored.

    ``is_conflict`` is true when the content differed from that of the first delivery.
    """

    dedup_key = models.BinaryField(max_length=32)
    update_type = models.CharField(_("type"), max_length=40)
    is_conflict = models.BooleanField(_("with different content"), db_default=False)
    received_at = models.DateTimeField(_("received at"), db_index=True)

    permission_name = "repeat"

    class Meta:
        db_table = "webhook_repeats"
        default_permissions = ()
        permissions: ClassVar = [
            ("add_repeat", "Can add duplicate delivery"),
            ("change_repeat", "Can change duplicate delivery"),
            ("delete_repeat", "Can delete duplicate delivery"),
            ("view_repeat", "Can view duplicate delivery"),
        ]
        verbose_name = _("duplicate delivery")
        verbose_name_plural = _("duplicate deliveries")

    def __str__(self) -> str:
        return f"{display_type(self.update_type)}, {times.text(self.received_at)}"


class Replay(models.Model):
    """An audit record of a replay: who put which updates back into the queue, when and why.

    The replayed updates get ``queued_at`` as the time of their next attempt. Until that attempt, this value identifies
    them. ``queued_at`` is None for replays made by an earlier release and for cancellations. A trigger prevents changes
    to the rows of this table.
    """

    at = models.DateTimeField(_("time"), auto_now_add=True)
    by = models.CharField(_("by"), max_length=150)
    selection = models.CharField(_("selection"), max_length=500)
    reason = models.CharField(_("reason"), max_length=500)
    count = models.PositiveIntegerField(_("updates"))
    queued_at = models.DateTimeField(null=True, editable=False)
    cancels = models.ForeignKey("self", models.PROTECT, null=True, editable=False, related_name="cancellations")

    class Meta:
        db_table = "webhook_replays"
        ordering: ClassVar = ["-at"]
        verbose_name = _("replay")
        verbose_name_plural = _("replays")

    def __str__(self) -> str:
        return f"{shell_user.displayed(self.by)}, {times.text(self.at)}: {self.count}"

    def _waiting(self) -> InboxQuerySet:
        queued = InboxUpdate.objects.pending().filter(tries=0)
        return queued.filter(next_try_at=self.queued_at) if self.queued_at else queued.none()

    @property
    def waiting(self) -> int:
        """Return how many updates of the replay are pending and have not been attempted since the replay."""
        return self._waiting().count() if self.queued_at else 0

    def cancel(self, *, by: str, reason: str) -> Replay:
        """Restore the state that the waiting updates had before the replay; return the record of the cancellation.

        An update that an inbox worker is processing is not restored. Raise ReplayRefused if no update is waiting.
        """
        with transaction.atomic():
            restored = {name: Cast(KT(f"before_replay__{name}"), field) for name, field in _REPLAYED.items()}
            count = self._waiting().filter(before_replay__isnull=False).update(**restored, before_replay=None)
            if not count:
                raise ReplayRefused(gettext("All updates of this replay have been processed or cancelled."))
            return Replay.objects.create(by=by, reason=reason, selection=self.selection, count=count, cancels=self)
