"""One answer for one Idempotency-Key: the first request works, repeats are told what it was told."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from config.lib.errors import IdempotencyInFlight, IdempotencyMismatch
from employees.models import IdempotentRequest
from employees.models.idempotency import ABANDONED_AFTER

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass
class Once:
    """What is known of the key: the answer to repeat, or the hook that remembers one."""

    answer: Response | None = None
    hook: dict[str, Any] = field(default_factory=dict)


@contextmanager
def answered_once(request: Request) -> Iterator[Once]:
    """Give the block the remembered answer, if there is one; what the block refuses leaves the key free again.

    Only success is remembered, by the hook, in the transaction of the insert.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        yield Once()
        return
    if not _KEY.fullmatch(key):
        raise ValidationError({"Idempotency-Key": [_("1 to 255 visible ASCII characters")]})
    mine, earlier = _claim(request, key)
    if earlier is not None:
        yield Once(answer=_repeated(earlier, _fingerprint(request)))
        return
    try:
        yield Once(hook={"answered": lambda data: _remember(mine, data)})
    except APIException:
        IdempotentRequest.objects.filter(pk=mine, status=None).delete()
        raise


def _claim(request: Request, key: str) -> tuple[int, IdempotentRequest | None]:
    """Insert the key, or return who has it. One that was abandoned, or is too old to repeat, is taken over."""
    user_id: Any = request.user.pk
    mine = IdempotentRequest.objects.filter(user_id=user_id, key=key)
    mine.outdated().delete()
    mine.filter(status=None, created_at__lt=timezone.now() - ABANDONED_AFTER).delete()
    held, is_mine = IdempotentRequest.objects.get_or_create(
        user_id=user_id, key=key, defaults={"fingerprint": _fingerprint(request)}
    )
    return held.pk, None if is_mine else held


def _repeated(earlier: IdempotentRequest, fingerprint: str) -> Response:
    if earlier.fingerprint != fingerprint:
        raise IdempotencyMismatch
    if earlier.status is None:
        raise IdempotencyInFlight
    return Response(earlier.answer, status=earlier.status)


def _remember(pk: int, data: Any) -> None:
    IdempotentRequest.objects.filter(pk=pk).update(status=201, answer=json.loads(json.dumps(data, cls=JSONEncoder)))


def _fingerprint(request: Request) -> str:
    return hashlib.sha256(json.dumps(request.data, sort_keys=True).encode()).hexdigest()
