"""The id by which the lines of one request are found, in the web process and in the worker that goes on with it."""

import os
import re
from contextvars import ContextVar

current: ContextVar[str] = ContextVar("request_id", default="")
# A proxy's hexadecimal id or a UUID: whatever else a client sends could be somebody's name or phone.
_GIVEN = re.compile(r"[0-9a-fA-F-]{16,64}")


def begin(given: str = "") -> None:
    """Take over the id that a proxy gave, or make one."""
    current.set(given if _GIVEN.fullmatch(given) else os.urandom(8).hex())
