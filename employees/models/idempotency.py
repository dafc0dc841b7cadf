from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

KEPT_FOR = timedelta(hours=24)
# Longer than any request may take: who began it has died.
ABANDONED_AFTER = timedelta(seconds=60)


class IdempotentRequestQuerySet(models.QuerySet["IdempotentRequest"]):
    def outdated(self) -> IdempotentRequestQuerySet:
        return self.filter(created_at__lt=timezone.now() - KEPT_FOR)


class IdempotentRequest(models.Model):
    """A request that came with an Idempotency-Key; ``status`` is NULL until it is answered."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, editable=False)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[IdempotentRequestQuerySet] = IdempotentRequestQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "idempotent_requests"
        verbose_name = _("idempotent request")
        verbose_name_plural = _("idempotent requests")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "key"], name="idempotent_requests_key_once"),
        ]

    def __str__(self) -> str:
        return str(self.pk)
