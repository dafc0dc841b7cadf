"""Metrics of several processes: each process has its own files, named after host and pid, in a shared directory."""

import errno
import logging
import mmap
import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

from prometheus_client import disable_created_metrics, values
from prometheus_client.mmap_dict import MmapedDict

logger = logging.getLogger(__name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# prometheus_client splits the file names at underscores, so the host name must not contain any.
HOST = socket.gethostname().replace("_", "-").replace("/", "-")
_process = f"{HOST}-{os.getpid()}"
_SIZE = 64 * 1024
# Between two attempts to return from memory to a file.
_RETRY_SECONDS = 60.0


def create(path: Path, size: int, content: bytes = b"") -> None:
    """Create or replace a file with this content and ``size`` bytes allocated on disk; raise OSError if that fails.

    The file gets its final name only when it is complete, because the process may be killed while it writes, and the
    disk may be full.
    """
    new = path.with_suffix(".new")
    try:
        with new.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
            file.write(content)
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def allocate(path: Path, size: int) -> None:
    """Allocate at least ``size`` bytes on disk for a file; raise OSError if there is no room.

    The file is created if it does not exist. prometheus_client itself would map a file whose space is not allocated. If
    the disk is full, the kernel kills a process that writes to such a file (SIGBUS).
    """
    try:
        # Without O_APPEND, which posix_fallocate refuses on file systems that cannot allocate blocks.
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        create(path, size)
        return
    try:
        os.posix_fallocate(descriptor, 0, max(os.fstat(descriptor).st_size, size))
    finally:
        os.close(descriptor)


class _AllocatedDict(MmapedDict):
    """Values in a mapped file whose blocks are allocated before they are written, or in memory if there is no room.

    Values in memory are missing from `/metrics` until there is room again. If the process had a file before, the file
    keeps its last values until then.
    """

    _share_at = 0.0

    def __init__(self, filename: str) -> None:
        path = Path(filename)
        # An earlier process had the same ID; this process continues the counts in that file, if it can read them.
        self._is_file_of_another = path.exists()
        self._is_shared = True
        try:
            allocate(path, _SIZE)
            super().__init__(filename)  # type: ignore[no-untyped-call]
        except OSError as error:
            # There is no file to close.
            vars(self).update(_f=None, _fname=filename)
            self._positions: dict[str, int] = {}
            self._use_memory(_SIZE, struct.pack("i", 8), error)
            self._used = 8

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
        if not self._is_shared and time.monotonic() >= self._share_at:
            self._share_at = time.monotonic() + _RETRY_SECONDS
            with suppress(OSError):
                self._share_again()

    def _init_value(self, key: str) -> None:
        # At most 40 bytes are added to a key.
        while self._used + len(key.encode()) + 40 > self._capacity:
            self._grow(2 * self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _grow(self, size: int) -> None:
        try:
            if self._is_shared:
                allocate(Path(self._fname), size)
                self._m, self._capacity = mmap.mmap(self._f.fileno(), size), size
        except OSError as error:
            self._use_memory(size, self._m[:], error)
        except ValueError:
            # Somebody has deleted the file; the file that has its name now is a different one.
            self._use_memory(size, self._m[:], FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        else:
            if not self._is_shared:
                self._use_memory(size, self._m[:])

    def _use_memory(self, size: int, content: bytes, error: OSError | None = None) -> None:
        if error:
            logger.warning("metrics not shared", extra={"event": "metrics_not_shared", "error": error.strerror})
            self._share_at = time.monotonic() + _RETRY_SECONDS
        self._is_shared = False
        self._m, self._capacity = mmap.mmap(-1, size), size
        self._m[: len(content)] = content

    def _share_again(self) -> None:
        if self._f is None and self._is_file_of_another:
            return
        create(Path(self._fname), self._capacity, self._m[:])
        file = Path(self._fname).open("r+b")  # noqa: SIM115 (close() closes it)
        try:
            shared = mmap.mmap(file.fileno(), self._capacity)
        except OSError:
            file.close()
            raise
        self.close()  # type: ignore[no-untyped-call]
        self._f, self._m, self._is_shared = file, shared, True
        logger.info("metrics shared again", extra={"event": "metrics_shared"})


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
