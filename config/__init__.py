"""Settings and processes. Whatever counts for Prometheus imports this first."""

import os
import socket

from prometheus_client import values

if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    # By host as well: in containers that share the folder, every process is number 1.
    _HOST = socket.gethostname().replace("_", "-")
    values.ValueClass = values.MultiProcessValue(lambda: f"{_HOST}-{os.getpid()}")  # type: ignore[no-untyped-call]
