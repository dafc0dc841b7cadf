"""Metrics of several processes: each counts into its own files in one folder, named by host and process."""

import os
import socket

from prometheus_client import disable_created_metrics, values

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# The library splits file names at the underscore.
HOST = socket.gethostname().replace("_", "-").replace("/", "-")
_process = f"{HOST}-{os.getpid()}"


def share() -> None:
    """Count under a name that is unique among all containers; call it before any metric is created."""
    # A second series for each counter, which no rate needs.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    if FOLDER in os.environ:
        # The library asks at each count, so the name is built only at each fork.
        os.register_at_fork(after_in_child=_name_process)
        values.ValueClass = values.MultiProcessValue(lambda: _process)  # type: ignore[no-untyped-call]


def _name_process() -> None:
    global _process  # noqa: PLW0603 (there is one process)
    _process = f"{HOST}-{os.getpid()}"
