"""Let a test set the clock of a Python process while it runs; PYTHONPATH has the process import this at its start.

The file that CLOCK_OFFSETS and PGAPPNAME name contains how many seconds the clock is ahead; each process that has set
its clock copies that to a file with its ID. libfaketime would be closer to a real step, but time.sleep() fails under it
(EINVAL, Python 3.11).
"""

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_POLL_SECONDS = 0.1


class _Clock:
    def __init__(self, file: Path) -> None:
        self._file, self._ahead = file, 0.0
        self._traveller: Any = None

    def start(self) -> None:
        self._copy = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        self._copy.write_text("")
        threading.Thread(target=self._follow, name="clock", daemon=True).start()

    def _follow(self) -> None:
        seen = ""
        while True:
            with suppress(OSError, ValueError):
                if (text := self._file.read_text()) != seen:
                    self._set(float(text))
                    self._copy.write_text(text)
                    seen = text
            time.sleep(_POLL_SECONDS)

    def _set(self, ahead: float) -> None:
        if ahead == self._ahead:
            return
        if self._traveller is None:
            self._traveller = _traveller()
        self._traveller.shift(ahead - self._ahead)
        self._ahead = ahead


def _traveller() -> Any:
    # It would import pytest if it could, which holds the lock of the interpreter for too long.
    sys.modules.setdefault("pytest", None)  # type: ignore[arg-type]
    import time_machine  # noqa: PLC0415 (a process whose clock is never set does without it)

    return time_machine.travel(time.time()).start()


if {"CLOCK_OFFSETS", "PGAPPNAME"} <= os.environ.keys():
    clock = _Clock(Path(os.environ["CLOCK_OFFSETS"], os.environ["PGAPPNAME"]))
    clock.start()
    # A forked child has no threads of its parent, but its clock.
    os.register_at_fork(after_in_child=clock.start)
