"""Metrics of many processes: each counts into files of its own in one folder, named by host and process."""

import os
import socket

from prometheus_client import disable_created_metrics, values

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# The library splits names of files at the underscore.
HOST = socket.gethostname().replace("_", "-").replace("/", "-")
_process = f"{HOST}-{os.getpid()}"


def share() -> None:
    """Count under a name that no process of another container has; call it before any metric is made."""
    # The moment of its creation beside each counter: twice the series, and no use to a rate.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    if FOLDER in os.environ:
        # Asked for at each count, so made at each fork alone.
        os.register_at_fork(after_in_child=_name_process)
        values.ValueClass = values.MultiProcessValue(lambda: _process)  # type: ignore[no-untyped-call]


def _name_process() -> None:
    global _process  # noqa: PLW0603 (there is one process)
    _process = f"{HOST}-{os.getpid()}"
