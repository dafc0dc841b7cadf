import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request

from config.lib.errors import IdempotencyInFlight, IdempotencyMismatch
from employees.models import IdempotentRequest

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@contextmanager
def idempotent(request: Request) -> Iterator[IdempotentRequest | None]:
    """Yield the row of the request's Idempotency-Key, None without a key; a row with a status holds the answer.

    The block stores its answer in the transaction of the insert. An APIException in the block releases the key.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        yield None
        return
    if not _KEY.fullmatch(key):
        raise ValidationError({"Idempotency-Key": [_("Must be 1 to 255 visible ASCII characters.")]})
    user_id: Any = request.user.pk
    fingerprint = hashlib.sha256(json.dumps(request.data, sort_keys=True).encode()).hexdigest()
    IdempotentRequest.objects.filter(user_id=user_id, key=key).outdated().delete()
    stored, is_new = IdempotentRequest.objects.get_or_create(
        user_id=user_id, key=key, defaults={"fingerprint": fingerprint}
    )
    if stored.fingerprint != fingerprint:
        raise IdempotencyMismatch
    if stored.status is None and not is_new:
        raise IdempotencyInFlight
    try:
        yield stored
    except APIException:
        IdempotentRequest.objects.filter(pk=stored.pk, status=None).delete()
        raise
