from __future__ import annotations

from typing import ClassVar

from django.apps import apps
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class UniversityRuleQuerySet(models.QuerySet["UniversityRule"]):
    def in_force(self) -> UniversityRuleQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))


class UniversityRule(models.Model):
    """A rule that admits a university to a phase or excludes it, at any percentage. An exclusion takes precedence."""

    university_id = models.BigIntegerField(_("university ID"))
    phase = models.PositiveSmallIntegerField(_("phase"), choices=[(3, "3"), (4, "4")], default=3)
    is_allowed = models.BooleanField(_("allowed"), default=False)
    reason = models.CharField(_("reason"), max_length=500)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects: ClassVar[UniversityRuleQuerySet] = UniversityRuleQuerySet.as_manager()  # type: ignore[assignment]

    permission_name = "scope"

    class Meta:
        db_table = "rollout_scope"
        default_permissions = ()
        permissions: ClassVar = [
            ("add_scope", "Can add university rule"),
            ("change_scope", "Can change university rule"),
            ("delete_scope", "Can delete university rule"),
            ("view_scope", "Can view university rule"),
        ]
        verbose_name = _("university rule")
        verbose_name_plural = _("university rules")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["university_id", "phase", "is_allowed"], name="rollout_scope_unique"),
            models.CheckConstraint(condition=~Q(reason=""), name="rollout_scope_has_reason"),
            models.CheckConstraint(condition=Q(phase__in=(3, 4)), name="rollout_scope_phase_3_or_4"),
        ]

    def __str__(self) -> str:
        params = {"university": university_name(self.university_id), "phase": self.phase}
        if self.is_allowed:
            return gettext("%(university)s is allowed in phase %(phase)d") % params
        return gettext("%(university)s is denied in phase %(phase)d") % params


def university_name(pk: int) -> str:
    """Return the name of a university; get its model by name, because this app does not import the employees app."""
    names = apps.get_model("employees", "University").objects.filter(pk=pk).values_list("name", flat=True)
    return names.first() or gettext("deleted university")
