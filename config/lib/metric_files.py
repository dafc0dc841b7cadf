"""Metrics of several processes: each process has its own files, named after host and pid, in a shared directory."""

import os
import socket
from pathlib import Path

from prometheus_client import disable_created_metrics, values

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# prometheus_client splits the file names at underscores, so the host name must not contain any.
HOST = socket.gethostname().replace("_", "-").replace("/", "-")
_process = f"{HOST}-{os.getpid()}"


def share() -> None:
    """Give this process's metric files a name unique among all containers; call this before creating any metric."""
    # The “_created” series, one for each counter, which no query needs.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    if FOLDER in os.environ:
        # The volume of a new pod is empty.
        Path(os.environ[FOLDER]).mkdir(parents=True, exist_ok=True)
        # prometheus_client requests the name at each increment, so it is built only once per process.
        os.register_at_fork(after_in_child=_name_process)
        values.ValueClass = values.MultiProcessValue(lambda: _process)  # type: ignore[no-untyped-call]


def _name_process() -> None:
    global _process  # noqa: PLW0603 (there is one process)
    _process = f"{HOST}-{os.getpid()}"
