from collections.abc import Iterable
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from config.lib.messages import Text, from_columns, to_columns

REASON_LENGTH = 500


class Action(models.TextChoices):
    SEED = "seed", _("Seeded by the environment")
    SET = "set", _("Percentage set")
    ADVANCE = "advance", _("Step forward")
    SCHEDULE = "schedule", _("Planned step")
    ROLL_BACK = "roll-back", _("Step back")
    SWITCH = "switch", _("Switch changed")
    PAUSE = "pause", _("Paused")
    RESUME = "resume", _("Resumed")
    EMERGENCY = "emergency", _("Emergency stop")
    LATCH = "latch", _("Emergency stop latched")
    ON_BREACH = "on-breach", _("Breach action changed")
    SCOPE = "scope", _("University rule changed")
    SAVE = "save", _("Saved by code")
    FLAG = "flag", _("Flag changed")
    DELETE = "delete", _("Flag deleted")
    PLAN = "plan", _("Step planned")
    CANCEL = "cancel", _("Planned step cancelled")
    REHEARSAL = "rehearsal", _("Rollback rehearsed")
    SCHEMA = "schema", _("Schema rolled back")
    # Only for commands: the admin's log records the actions of its users and of users of the API.
    BACKFILL_PAUSE = "backfill-pause", _("Backfill paused")
    BACKFILL_RESUME = "backfill-resume", _("Backfill resumed")
    BACKFILL_RETRY = "backfill-retry", _("Failed backfill batches retried")
    BACKFILL_UNDO = "backfill-undo", _("Backfill undone")


class ChangeQuerySet(models.QuerySet[Any]):
    def of_universities(self, ids: Iterable[int] | None) -> Self:
        """Exclude the rules and rollback checks of universities that are not in ``ids``; keep all other changes.

        With None, exclude nothing.
        """
        if ids is None:
            return self
        ids = list(ids)
        is_theirs = Q(before__university__in=ids) | Q(after__university__in=ids)
        return self.filter(is_theirs | ~(Q(before__has_key="university") | Q(after__has_key="university")))


class ChangeRecord(models.Model):
    """The author, content and reason of a change.

    ``reason`` is the reason in the site's language; ``sentence`` is the same reason in a form that can be translated.
    """

    at = models.DateTimeField(_("time"), default=timezone.now)
    by = models.CharField(_("by"), max_length=150)
    action = models.CharField(_("action"), max_length=20, choices=Action)
    reason = models.CharField(_("reason"), max_length=REASON_LENGTH)
    sentence = models.JSONField(null=True, editable=False)
    revision = models.BigIntegerField(_("revision"), db_index=True)
    before = models.JSONField(_("from"), default=dict)
    after = models.JSONField(_("to"), default=dict)
    evidence = models.JSONField(_("evidence"), default=list)
    is_forced = models.BooleanField(_("forced"), default=False)

    objects: ClassVar[ChangeQuerySet] = ChangeQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        abstract = True
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return f"r{self.revision} {self.get_action_display()}"

    @property
    def text(self) -> str:
        return str(self.stored_reason)

    @text.setter
    def text(self, reason: Text) -> None:
        self.reason, self.sentence = to_columns(reason, REASON_LENGTH)

    @property
    def stored_reason(self) -> Text:
        return from_columns(self.reason, self.sentence)


class Change(ChangeRecord):
    """An audit record of a change; a trigger rejects edits and deletions."""

    approved_by = models.CharField(_("approved by"), max_length=150, default="", db_default="")
    approval_reason = models.CharField(_("reason for approval"), max_length=REASON_LENGTH, default="", db_default="")

    class Meta(ChangeRecord.Meta):
        verbose_name = _("change")
        verbose_name_plural = _("changes")
        constraints: ClassVar = [models.CheckConstraint(condition=~Q(reason=""), name="rollout_change_has_reason")]
