from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from config.lib.messages import from_columns
from monitoring.rollout_control.labels import CHECKLIST_ITEMS, GATES

MESSAGE_LENGTH = 500


class Verdict(models.TextChoices):
    """The verdict of a gate. Only PASS allows the step; INCONCLUSIVE means that there is too little data."""

    PASS = "PASS", _("pass")
    FAIL = "FAIL", _("fail")
    INCONCLUSIVE = "INCONCLUSIVE", _("inconclusive")
    ERROR = "ERROR", _("error")


class GateCheck(models.Model):
    """The stored result of one check of a gate; some gates pass only if several checks in a row have passed."""

    at = models.DateTimeField(_("time"), default=timezone.now)
    phase = models.PositiveSmallIntegerField(_("phase"))
    gate = models.CharField(_("gate"), max_length=30, choices=[*GATES.items()])
    verdict = models.CharField(_("verdict"), max_length=12, choices=Verdict)
    message = models.CharField(_("message"), max_length=MESSAGE_LENGTH)
    sentence = models.JSONField(null=True, editable=False)
    value = models.FloatField(_("value"), null=True)
    limit = models.FloatField(_("limit"), null=True)
    n = models.BigIntegerField(_("sample size"), null=True)

    class Meta:
        ordering: ClassVar = ["-at", "-pk"]
        indexes: ClassVar = [models.Index(fields=["gate", "phase", "-at"], name="monitoring_gatecheck_latest")]
        verbose_name = _("gate check")
        verbose_name_plural = _("gate checks")

    def __str__(self) -> str:
        gate = _("Phase %(n)d, %(title)s") % {"n": self.phase, "title": self.get_gate_display()}
        return f"{gate}: {self.get_verdict_display()}"

    @property
    def text(self) -> str:
        """Return the message in the active language."""
        return str(from_columns(self.message, self.sentence))


class SignatureQuerySet(models.QuerySet["Signature"]):
    def in_force(self) -> Self:
        return self.filter(expires_at__gt=timezone.now())


class Signature(models.Model):
    """A user's confirmation, for a limited time, of a checklist item that cannot be measured."""

    item = models.CharField(_("item"), max_length=50)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("by"))
    note = models.CharField(_("note"), max_length=500)
    signed_at = models.DateTimeField(_("signed at"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires at"))

    objects: ClassVar[SignatureQuerySet] = SignatureQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering: ClassVar = ["-signed_at"]
        permissions: ClassVar = [
            ("view_audit", _("Can see the audit log")),
            ("export_employees", _("Can export the employees")),
        ]
        verbose_name = _("signature")
        verbose_name_plural = _("signatures")
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(expires_at__gt=models.F("signed_at")), name="signature_expires_later"),
            models.CheckConstraint(condition=~Q(note=""), name="signature_has_note"),
        ]

    def __str__(self) -> str:
        return str(CHECKLIST_ITEMS.get(self.item, self.item))
