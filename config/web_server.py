"""``python -m config.web_server``: granian's command, with workers that can be stopped while they start.

A worker that granian forks has the handlers of the main process until it serves. A SIGTERM then would set a flag that
nobody reads: the worker would start to serve after it, and be killed among its requests seconds later.
"""

import os
import runpy
import signal

_ENDING = frozenset({signal.SIGTERM, signal.SIGINT})


def end_at_once_while_starting() -> None:
    """Reset the handlers in each forked process, without a moment in which a signal is lost."""
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING),
        after_in_child=_reset_handlers,
    )


def _reset_handlers() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


if __name__ == "__main__":
    end_at_once_while_starting()
    runpy.run_module("granian", run_name="__main__", alter_sys=True)
