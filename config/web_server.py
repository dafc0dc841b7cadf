"""``python -m config.web_server``: granian's own command, with workers that can be stopped while they start.

Granian forks its workers, and until one serves it has the main process' handlers: a SIGTERM would set a flag that
nobody reads. The worker would begin to serve after the signal to end, and be killed among its requests seconds later.
"""

import os
import runpy
import signal

_ENDING = frozenset({signal.SIGTERM, signal.SIGINT})


def end_at_once_while_starting() -> None:
    """Give the processes forked from now on the system's own handlers, without a moment in which a signal is lost."""
    os.register_at_fork(before=_hold, after_in_parent=_let_through, after_in_child=_be_ended)


def _hold() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


def _let_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _be_ended() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)
    _let_through()


if __name__ == "__main__":
    end_at_once_while_starting()
    runpy.run_module("granian", run_name="__main__", alter_sys=True)
