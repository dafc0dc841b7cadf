from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class CacheGenerationQuerySet(models.QuerySet["CacheGeneration"]):
    def identity(self) -> tuple[bytes, bytes] | None:
        """Return the run ID and the token as bytes, as Redis returns them; None before the first generation."""
        row = self.values_list("run_id", "token").first()
        return (row[0].encode(), row[1].encode()) if row else None


class CacheGeneration(models.Model):
    """The cache generation whose entries may be served, in a single row: its Redis server's run ID, and a token.

    The run ID alone is not enough: a server may come back with old entries after another one was in use.
    """

    run_id = models.CharField(max_length=64)
    token = models.CharField(max_length=64)

    objects: ClassVar[CacheGenerationQuerySet] = CacheGenerationQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "cache_generation"
        verbose_name = _("generation of the profile cache")
        verbose_name_plural = _("generation of the profile cache")
        constraints: ClassVar = [models.CheckConstraint(condition=Q(pk=1), name="cache_generation_is_one_row")]

    def __str__(self) -> str:
        return self.run_id
