"""A process of a test's own, forked: a new interpreter would import for a second what is here already."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection

from profiles.rollout.heartbeat import heartbeat_thread


@dataclass
class Forked:
    pid: int
    is_reaped: bool = False

    def kill(self) -> None:
        """End it as ``kill -9`` does, and wait until it has."""
        if not self.is_reaped:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.is_reaped = True


@contextmanager
def forked(work: Callable[[], object]) -> Iterator[Forked]:
    """Do the work in another process, which is killed at the end of the block if not before."""
    # Two processes cannot talk over one connection.
    connection.close()
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    process = Forked(pid)
    try:
        yield process
    finally:
        process.kill()


def live_as(kind: str) -> None:
    """Do nothing but tell the rollout that a process of this kind lives."""
    heartbeat_thread.start(kind)
    threading.Event().wait()
