from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from config.lib.messages import from_columns
from monitoring.rollout_control.checklist_titles import TITLES
from monitoring.rollout_control.gate_titles import GATES

MESSAGE_LENGTH = 500


class Verdict(models.TextChoices):
    """What a gate says. Only a pass lets a step through; no data is inconclusive, never green."""

    PASS = "PASS", _("pass")
    FAIL = "FAIL", _("fail")
    INCONCLUSIVE = "INCONCLUSIVE", _("inconclusive")
    ERROR = "ERROR", _("error")


class GateCheck(models.Model):
    """What one gate said at one moment: three in a row are asked for, and some compare with yesterday.

    ``message`` is in the site's language; ``text`` is for people.
    """

    at = models.DateTimeField(_("at"), default=timezone.now)
    phase = models.PositiveSmallIntegerField(_("phase"))
    gate = models.CharField(_("gate"), max_length=30, choices=[*GATES.items()])
    verdict = models.CharField(_("verdict"), max_length=12, choices=Verdict)
    message = models.CharField(_("message"), max_length=MESSAGE_LENGTH)
    sentence = models.JSONField(null=True, editable=False)
    value = models.FloatField(_("value"), null=True)

    class Meta:
        ordering: ClassVar = ["-at", "-pk"]
        indexes: ClassVar = [models.Index(fields=["gate", "phase", "-at"], name="monitoring_gatecheck_latest")]
        verbose_name = _("gate check")
        verbose_name_plural = _("gate checks")

    def __str__(self) -> str:
        told = _("Phase %(n)d, %(title)s") % {"n": self.phase, "title": self.get_gate_display()}
        return f"{told}: {self.get_verdict_display()}"

    @property
    def text(self) -> str:
        """Return the message in the language that is active."""
        return str(from_columns(self.message, self.sentence))


class SignatureQuerySet(models.QuerySet["Signature"]):
    def in_force(self) -> SignatureQuerySet:
        return self.filter(expires_at__gt=timezone.now())


class Signature(models.Model):
    """Somebody answers for an item of the guide's checklist that no machine can see, until it expires."""

    item = models.CharField(_("item"), max_length=50)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("by"))
    note = models.CharField(_("note"), max_length=500)
    signed_at = models.DateTimeField(_("signed at"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires at"))

    objects: ClassVar[SignatureQuerySet] = SignatureQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering: ClassVar = ["-signed_at"]
        permissions: ClassVar = [
            ("view_audit", _("Can see the audit trail")),
            ("export_employees", _("Can export the employees")),
        ]
        verbose_name = _("signature")
        verbose_name_plural = _("signatures")
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(expires_at__gt=models.F("signed_at")), name="signature_expires_later"),
            models.CheckConstraint(condition=~Q(note=""), name="signature_has_note"),
        ]

    def __str__(self) -> str:
        return str(TITLES.get(self.item, self.item))
