from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from employees.models.directory import University


class Membership(models.Model):
    """The one university whose employees a curator or operator sees; what they may do there says their group."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, verbose_name=_("user"))
    university = models.ForeignKey(University, models.CASCADE, related_name="members", verbose_name=_("university"))

    class Meta:
        db_table = "memberships"
        ordering: ClassVar = ["id"]
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")

    def __str__(self) -> str:
        return f"{self.user} · {self.university}"
