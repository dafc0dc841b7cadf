from decimal import Decimal
from typing import Any, ClassVar, Self

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from waffle.models import AbstractUserFlag

from profiles.rollout.decision import current_state, decide
from profiles.rollout.phases import BUCKETED, PHASES, SHADOW

# Sent in the transaction that saves a flag; its receiver in profiles.rollout.changes enforces the rules.
flag_saving = Signal()


class PercentField(models.DecimalField):  # type: ignore[type-arg]
    """A decimal that stores None as 0: both mean the same in waffle, and the previous release expects a number."""

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(Decimal(0) if value is None else value)


class Flag(AbstractUserFlag):
    """A phase, the comparison flag, or any other flag, which works as django-waffle's documentation describes.

    For a phase, ``percent`` is the share of employees that it includes, chosen by the hash of their phone. Its
    ``everyone`` is an override: True means 100% for this phase and all earlier ones, False means 0% for this phase and
    all later ones.
    """

    # Waffle's criteria, which do not depend on the phone. They decide only flags that are not bucketed.
    CRITERIA: ClassVar = ("testing", "superusers", "staff", "authenticated", "languages", "rollout")

    percent = PercentField(
        _("percent"),
        max_digits=5,
        decimal_places=2,
        default=None,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_("0.00 to 100.00: share of the employees"),
    )
    salt = models.CharField(
        _("salt"),
        max_length=50,
        default="migration",
        help_text=_("flags with the same salt have nested cohorts: whoever is included at 25% is also included at 50%"),
    )
    moved_at = models.DateTimeField(_("percentage since"), default=timezone.now)

    # Who saves or deletes the flag, and why, for the audit row.
    change_by = ""
    change_reason = ""

    class Meta(AbstractUserFlag.Meta):
        abstract = False
        verbose_name = _("flag")
        verbose_name_plural = _("flags")
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(percent__gte=0, percent__lte=100), name="rollout_flag_percent_0_100"),
        ]

    @classmethod
    def from_db(cls, db: str | None, field_names: Any, values: Any) -> Self:
        flag = super().from_db(db, field_names, values)
        if flag.__dict__.get("percent") == 0 and flag.name not in BUCKETED:
            flag.percent = None
        return flag

    def is_active(self, request: HttpRequest | None, read_only: bool = False) -> bool | None:
        """Return whether the flag is on for the request.

        A phase or the comparison flag depends on ``request.rollout_phone``, which a view may set but a client cannot.
        """
        phone, university = getattr(request, "rollout_phone", None), getattr(request, "rollout_university", None)
        if self.name in PHASES:
            return decide(phone, university).stage > PHASES.index(self.name)
        if self.name == SHADOW:
            return current_state().admits(SHADOW, phone)
        # Code without a request passes None, as waffle's own tests do.
        return super().is_active(request, read_only)  # type: ignore[arg-type]

    def is_active_for_user(self, user: AbstractBaseUser) -> bool | None:
        return self.is_active(None) if self.name in BUCKETED else super().is_active_for_user(user)

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():
            flag_saving.send(Flag, flag=self)
            super().save(*args, **kwargs)
