"""Runs work in a forked process, which saves the second that a new interpreter needs for its imports."""

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
        """Kill the process with SIGKILL and wait for its end."""
        if not self.is_reaped:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.is_reaped = True


@contextmanager
def forked(work: Callable[[], object]) -> Iterator[Forked]:
    """Run ``work`` in a child process; kill the child at the end of the block."""
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


def live_as(kind: str) -> None:
    """Write heartbeats as a process of this kind, and do nothing else."""
    heartbeat_thread.start(kind)
    threading.Event().wait()
