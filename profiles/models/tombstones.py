"""Tombstones, which make profile writers ignore updates from before an erasure; audit rows of erasures and exports."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import ClassVar, Protocol, TypeVar

from django.conf import settings
from django.db import connection, models, transaction
from django.utils.translation import gettext_lazy as _

from config.lib import times
from config.postgres import base, locks

# An arbitrary lock ID. Profile writers share the lock; creating a tombstone takes it exclusively, so it waits for them.
_LOCK = 0x70E57
_SHARE = "SELECT set_config('idle_in_transaction_session_timeout', %s, true), pg_advisory_xact_lock_shared(%s)"
# Limit the wait for the lock: while an erasure waits for it, all profile writers wait for the erasure.
_KEEP_OUT = """
SELECT set_config('idle_in_transaction_session_timeout', %s, true), set_config('lock_timeout', %s, true),
       pg_advisory_xact_lock(%s)
"""


class PersonalData(Protocol):
    @property
    def user_id(self) -> str: ...

    @property
    def observed_at(self) -> datetime: ...


T = TypeVar("T", bound=PersonalData)


def hash_of(user_id: str) -> str:
    return hmac.digest(_hash_key(settings.SECRET_KEY), user_id.encode(), "sha256").hex()


@cache
def _hash_key(secret: str) -> bytes:
    """Return the HMAC key, which is cached: Django's ``salted_hmac`` would derive it again for every hash."""
    return hashlib.sha256(b"profiles.tombstone" + secret.encode()).digest()


class TombstoneQuerySet(models.QuerySet["Tombstone"]):
    @transaction.atomic
    def create_for(self, user_id: str, at: datetime) -> Tombstone:
        """Create the tombstone after in-flight profile writes finish, so later writers see it.

        The commit does not wait for a synchronous standby, because all profile writers would have to wait too. The
        erasure commits afterwards and does wait, so that the standby then has both.
        """
        with connection.cursor() as cursor:
            cursor.execute(_KEEP_OUT, [str(base.IDLE_TIMEOUT_MS), str(locks.LOCK_TIMEOUT_MS), _LOCK])
        locks.commit_here()
        fields = {"erased_at": at, "unfinished_id": user_id, "progress": {}}
        return self.update_or_create(key=hash_of(user_id), defaults=fields)[0]

    def time_of(self, user_id: str) -> datetime | None:
        """Return the time of the person's last erasure, or None; block new erasures until the transaction ends."""
        self._keep_out_erasures()
        return self.filter(key=hash_of(user_id)).values_list("erased_at", flat=True).first()

    def _keep_out_erasures(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_SHARE, [str(base.IDLE_TIMEOUT_MS), _LOCK])

    def exclude_erased(self, updates: Iterable[T]) -> list[T]:
        """Return the updates without those that are older than their person's erasure.

        Call this in the transaction that writes the updates.
        """
        updates = list(updates)
        if not updates:
            return updates
        self._keep_out_erasures()
        hashes = {user_id: hash_of(user_id) for user_id in {update.user_id for update in updates}}
        erased_at = dict(self.filter(key__in=hashes.values()).values_list("key", "erased_at"))
        if not erased_at:
            return updates
        return [
            update
            for update in updates
            if (erased := erased_at.get(hashes[update.user_id])) is None or update.observed_at > erased
        ]


class Tombstone(models.Model):
    """The mark of an erased person: a keyed hash of the MAX ID, and the time.

    An erasure makes a first pass at once, and a task makes a second pass later. ``unfinished_id`` is the MAX ID until
    the second pass is complete; then it is empty. ``progress`` stores where the last pass stopped in tables that are
    too large for one pass; it is empty until the first pass has been committed.
    """

    key = models.CharField(_("hash of the MAX ID"), max_length=64, primary_key=True)
    erased_at = models.DateTimeField(_("erased at"))
    unfinished_id = models.CharField(max_length=64, blank=True, default="")
    progress = models.JSONField(default=dict, db_default={}, editable=False)

    objects: ClassVar[TombstoneQuerySet] = TombstoneQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "tombstones"
        indexes: ClassVar = [
            models.Index(fields=["unfinished_id"], name="tombstones_unfinished", condition=~models.Q(unfinished_id="")),
        ]
        verbose_name = _("tombstone")
        verbose_name_plural = _("tombstones")

    def __str__(self) -> str:
        return f"{self.key[:8]}…"


class Erasure(models.Model):
    """An audit record of an erasure; a trigger rejects edits and deletions."""

    at = models.DateTimeField(_("time"), auto_now_add=True)
    by = models.CharField(_("by"), max_length=150)
    reason = models.CharField(_("reason"), max_length=500, help_text=_("stored permanently: do not include names"))
    person = models.CharField(_("hash of the MAX ID"), max_length=64)
    counts = models.JSONField(_("erased rows by table"), default=dict)

    class Meta:
        db_table = "erasures"
        ordering: ClassVar = ["-pk"]
        verbose_name = _("erasure")
        verbose_name_plural = _("erasures")
        constraints: ClassVar = [models.CheckConstraint(condition=~models.Q(reason=""), name="erasures_has_reason")]

    def __str__(self) -> str:
        return times.text(self.at)


class PersonExport(models.Model):
    """An audit record of an export of a person's data; a trigger rejects edits and deletions."""

    at = models.DateTimeField(_("time"), auto_now_add=True)
    by = models.CharField(_("by"), max_length=150)
    person = models.CharField(_("hash of the MAX ID or phone"), max_length=64, db_index=True)
    counts = models.JSONField(_("exported rows by table"), default=dict)

    class Meta:
        db_table = "person_exports"
        ordering: ClassVar = ["-pk"]
        verbose_name = _("export of a person's data")
        verbose_name_plural = _("exports of people's data")

    def __str__(self) -> str:
        return times.text(self.at)
