from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from config.lib.messages import Text, from_columns, to_columns

HELD_LENGTH = 300


class OnBreach(models.TextChoices):
    """What the rollout controller can do after three breaches in a row."""

    HOLD = "hold", _("pause the rollout")
    ROLL_BACK = "roll-back", _("roll back one step")


class Rollout(models.Model):
    """The state of the rollout, in a single row, which every change locks; ``revision`` counts the changes."""

    revision = models.BigIntegerField(_("revision"), default=0)
    revised_at = models.DateTimeField(_("revised at"), db_default=Now())
    is_paused = models.BooleanField(_("paused"), default=False)
    held_for = models.CharField(_("reason for the pause"), max_length=HELD_LENGTH, blank=True, default="")
    held_sentence = models.JSONField(null=True, editable=False)
    on_breach = models.CharField(_("on a breach"), max_length=10, choices=OnBreach, default=OnBreach.HOLD)
    remembered = models.JSONField(_("percentages before the emergency stop"), default=dict, blank=True)

    class Meta:
        verbose_name = _("rollout")
        verbose_name_plural = _("rollout")
        permissions: ClassVar = [
            ("operate_rollout", _("Can advance, set, pause and resume the rollout")),
            ("force_rollout", _("Can advance the rollout even if its gates fail")),
            ("stop_rollout", _("Can stop the rollout in an emergency")),
        ]
        constraints: ClassVar = [models.CheckConstraint(condition=Q(pk=1), name="rollout_is_one_row")]

    def __str__(self) -> str:
        return f"r{self.revision}"

    @property
    def held(self) -> Text:
        """Return the reason for the pause in a form that can be translated; ``held_for`` is in the site's language."""
        return from_columns(self.held_for, self.held_sentence)

    @held.setter
    def held(self, message: Text) -> None:
        self.held_for, self.held_sentence = to_columns(message, HELD_LENGTH)

    @classmethod
    def current(cls) -> Rollout:
        return Rollout.objects.filter(pk=1).first() or Rollout(pk=1)

    @classmethod
    def locked(cls) -> Rollout:
        Rollout.objects.bulk_create([Rollout(pk=1)], ignore_conflicts=True)
        return Rollout.objects.select_for_update().get(pk=1)
