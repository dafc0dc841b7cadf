"""Metrics of several processes: each process has its own files, named after host and pid, in a shared directory."""

import logging
import mmap
import os
import socket
from pathlib import Path

from prometheus_client import disable_created_metrics, values
from prometheus_client.mmap_dict import MmapedDict

logger = logging.getLogger(__name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# prometheus_client splits the file names at underscores, so the host name must not contain any.
HOST = socket.gethostname().replace("_", "-").replace("/", "-")
_process = f"{HOST}-{os.getpid()}"
_SIZE = 64 * 1024


class _AllocatedDict(MmapedDict):
    """Values in a mapped file whose blocks are allocated before they are written.

    prometheus_client maps sparse files, and a process that writes to a block for which a full disk has no room is
    killed (SIGBUS). Here, its values move to memory instead, and are missing in `/metrics` until it is restarted.
    """

    def __init__(self, filename: str) -> None:
        try:
            with Path(filename).open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, max(os.fstat(file.fileno()).st_size, _SIZE))
        except OSError as error:
            Path(filename).unlink(missing_ok=True)
            super().__init__(_file_in_memory(error))  # type: ignore[no-untyped-call]
        else:
            super().__init__(filename)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        # At most 40 bytes are added to a key.
        if self._used + len(key.encode()) + 40 > self._capacity:
            try:
                os.posix_fallocate(self._f.fileno(), 0, 2 * self._capacity)
            except OSError as error:
                with self._f, self._m:
                    self._f = open(_file_in_memory(error), "a+b")  # noqa: SIM115 (a descriptor; stays open)
                    self._f.write(self._m)
                    self._f.flush()
                self._m = mmap.mmap(self._f.fileno(), self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]


def _file_in_memory(error: OSError) -> int:
    logger.warning("metrics not shared", extra={"event": "metrics_not_shared", "error": error.strerror})
    return os.memfd_create("metrics")


def share() -> None:
    """Give this process's metric files a name unique among all containers; call this before creating any metric."""
    # The “_created” series, one for each counter, which no query needs.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    if FOLDER in os.environ:
        # The volume of a new pod is empty.
        Path(os.environ[FOLDER]).mkdir(parents=True, exist_ok=True)
        # prometheus_client requests the name at each increment, so it is built only once per process.
        os.register_at_fork(after_in_child=_name_process)
        vars(values)["MmapedDict"] = _AllocatedDict
        values.ValueClass = values.MultiProcessValue(lambda: _process)  # type: ignore[no-untyped-call]


def _name_process() -> None:
    global _process  # noqa: PLW0603 (there is one process)
    _process = f"{HOST}-{os.getpid()}"
