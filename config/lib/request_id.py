"""The id that the log lines of one request share, in the web process and in the worker that continues it."""

import os
import random
import re
from contextvars import ContextVar

current: ContextVar[str] = ContextVar("request_id", default="")
_random = random.Random()  # noqa: S311 (an id, not a secret: a tenth of what the system's own randomness costs)
os.register_at_fork(after_in_child=_random.seed)
# An id from a proxy; never what could be a phone.
_VALID = re.compile(r"(?!\d{10,15}$)[A-Za-z0-9_.-]{1,64}", re.ASCII)


def begin(given: str = "") -> None:
    """Set the request id to the proxy's, or to a new one where that is missing or invalid."""
    current.set(given if given and _VALID.fullmatch(given) else f"{_random.getrandbits(128):032x}")
