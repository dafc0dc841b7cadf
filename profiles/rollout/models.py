from decimal import Decimal
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from waffle.models import AbstractUserFlag

PHASES = ("phase1_infrastructure", "phase2_collection", "phase3_cache_first", "phase4_cache_primary")
SWITCHES = ("webhook_processing", "profile_cache", "monitoring", "service_employee", "service_chat")
EMERGENCY_STOP = "emergency_stop"


class Flag(AbstractUserFlag):
    """A phase of the migration; ``percent`` is the share of employees admitted to it, by the hash of their phone."""

    percent = models.DecimalField(
        _("percent"),
        max_digits=5,
        decimal_places=2,
        default=Decimal(0),
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_("0.00 to 100.00: share of the employees"),
    )
    salt = models.CharField(
        _("salt"),
        max_length=50,
        default="migration",
        help_text=_("flags of one salt have nested cohorts: who is in at 25 % is in at 50 %"),
    )
    superusers = models.BooleanField(_("superusers"), default=False)

    class Meta(AbstractUserFlag.Meta):
        abstract = False
        verbose_name = _("flag")
        verbose_name_plural = _("flags")
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(percent__gte=0, percent__lte=100), name="rollout_flag_percent_0_100"
            ),
        ]
