"""``python -m config.web_server``: the granian command, with workers that can be stopped while they start.

A forked worker inherits the signal handlers of granian's main process, and keeps them until it serves requests. With
them, a SIGTERM would only set a flag that the worker never reads: the worker would start serving, and be killed seconds
later in the middle of requests. This module therefore resets the handlers in each worker.
"""

import os
import runpy
import signal

_ENDING = frozenset({signal.SIGTERM, signal.SIGINT})


def _reset_handlers() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


if __name__ == "__main__":
    # Signals are blocked during a fork, so that none is lost.
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING),
        after_in_child=_reset_handlers,
    )
    runpy.run_module("granian", run_name="__main__", alter_sys=True)
