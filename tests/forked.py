"""Forked processes for tests: a new interpreter would need a second for its imports."""

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
        """Kill the process by SIGKILL and wait for its end."""
        if not self.is_reaped:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.is_reaped = True


@contextmanager
def forked(work: Callable[[], object]) -> Iterator[Forked]:
    """Run a function in another process, which is killed at the end of the block at the latest."""
    # Two processes cannot share a connection.
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


def run_heartbeat(kind: str) -> None:
    """Run a process that only has the heartbeat of its kind."""
    heartbeat_thread.start(kind)
    threading.Event().wait()
