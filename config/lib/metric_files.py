"""Metrics of many processes: each counts into files of its own in one folder, named by host and process."""

import os
import socket

from prometheus_client import disable_created_metrics, values

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# The library splits names of files at the underscore.
HOST = socket.gethostname().replace("_", "-").replace("/", "-")


def share() -> None:
    """Count under a name that no process of another container has; call it before any metric is made."""
    # The moment of its creation beside each counter: twice the series, and no use to a rate.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    if FOLDER in os.environ:
        values.ValueClass = values.MultiProcessValue(lambda: f"{HOST}-{os.getpid()}")  # type: ignore[no-untyped-call]
