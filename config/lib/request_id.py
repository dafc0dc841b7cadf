"""The id by which the lines of one request are found, in the web process and in the worker that goes on with it."""

import os
import random
import re
from contextvars import ContextVar

current: ContextVar[str] = ContextVar("request_id", default="")
_dice = random.Random()  # noqa: S311 (an id, not a secret: a tenth of what the system's own randomness costs)
os.register_at_fork(after_in_child=_dice.seed)
# What a proxy gives; never what could be a phone.
_GIVEN = re.compile(r"(?!\d{10,15}$)[A-Za-z0-9_.-]{1,64}", re.ASCII)


def begin(given: str = "") -> None:
    """Take over the id that a proxy gave, or make one."""
    current.set(given if given and _GIVEN.fullmatch(given) else f"{_dice.getrandbits(128):032x}")
