from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.utils.encoders import JSONEncoder

_REPEATED_FOR = timedelta(hours=24)
# Longer than any request may take: the process of an older request without a response has died.
_ABANDONED_AFTER = timedelta(seconds=60)


class IdempotentRequestQuerySet(models.QuerySet["IdempotentRequest"]):
    def outdated(self) -> IdempotentRequestQuerySet:
        """Return the requests that are no longer needed.

        They are too old for the client to repeat them, or their process died before it stored a response.
        """
        # PostgreSQL's clock: one host must not delete the requests of all others.
        is_abandoned = Q(status=None, created_at__lt=Now() - _ABANDONED_AFTER)
        return self.filter(Q(created_at__lt=Now() - _REPEATED_FOR) | is_abandoned)


class IdempotentRequest(models.Model):
    """A request with an Idempotency-Key and its response; ``status`` is NULL until the response is stored."""

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

    def store_answer(self, data: Any) -> None:
        answer = json.loads(json.dumps(data, cls=JSONEncoder))
        IdempotentRequest.objects.filter(pk=self.pk).update(status=201, answer=answer)
