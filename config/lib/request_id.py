"""The ID of a request.

It is in the response, in the log lines of the request, and in the log lines of later work that the request caused.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from config.lib.phone_masks import has_phone

current: ContextVar[str] = ContextVar("request_id", default="")
_random = random.Random()  # noqa: S311 (an id, not a secret; ten times cheaper than the system's randomness)
os.register_at_fork(after_in_child=_random.seed)
_VALID = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


def begin(given: str = "") -> str:
    """Set and return the current request id: ``given``, or a new id if ``given`` is empty, invalid or has a phone."""
    is_valid = _VALID.fullmatch(given) and not has_phone(given)
    request_id = given if is_valid else f"{_random.getrandbits(128):032x}"
    current.set(request_id)
    return request_id


@contextmanager
def continued(earlier: str) -> Iterator[None]:
    """Within the block, use ``earlier`` as the request ID, unless it is empty.

    ``earlier`` is the ID of the request that caused the work in the block.
    """
    token = current.set(earlier or current.get())
    try:
        yield
    finally:
        current.reset(token)
