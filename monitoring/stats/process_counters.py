"""Merge the Prometheus counters of all processes on this machine, which write them to files in a shared directory.

The counts in the files of dead processes are added to an archive file, so that no counts are lost in a restart and the
directory does not keep growing.
"""

import fcntl
import logging
import mmap
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from config.lib.metric_files import FOLDER, HOST, allocate

_OWN_FILE = re.compile(rf"(\w+?)_(?:live\w+_)?{re.escape(HOST)}-(\d+)\.db")
_ARCHIVE = "dead"

logger = logging.getLogger(__name__)


class SharedCollector(MultiProcessCollector):
    """Collect the metrics from the shared directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        # Without a lock, another process could count a file that is in the archive but not yet deleted twice.
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _archive_dead(self.folder)
            return list(super().collect())  # type: ignore[no-untyped-call]


def _archive_dead(folder: Path) -> None:
    """Add the counters and histograms of this host's dead processes to the archive, and delete all of their files.

    A file for which the archive has no room, because the disk is full, stays until there is room.
    """
    for path in folder.glob(f"*_{HOST}-*.db"):
        match = _OWN_FILE.fullmatch(path.name)
        if match and not _is_alive(int(match[2])):
            with suppress(OSError):
                if match[1] in ("counter", "histogram"):
                    _add(path, folder / f"{match[1]}_{HOST}-{_ARCHIVE}.db")
                path.unlink()


def _is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        return True
    return Path(f"/proc/{pid}").exists()


def _add(path: Path, archive: Path) -> None:
    allocate(archive, max(_used(archive) + _used(path), mmap.PAGESIZE))
    total = MmapedDict(str(archive))  # type: ignore[no-untyped-call]
    for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
        before, _ = total.read_value(key)  # type: ignore[no-untyped-call]
        total.write_value(key, before + value, timestamp)  # type: ignore[no-untyped-call]
    total.close()  # type: ignore[no-untyped-call]


def _used(path: Path) -> int:
    """Return how many bytes of a file are in use, which its first four bytes say."""
    try:
        with path.open("rb") as file:
            return int.from_bytes(file.read(4), sys.byteorder)
    except FileNotFoundError:
        return 0


def process_registry() -> CollectorRegistry:
    """Return a registry with the metrics of all processes on this machine, or only of this process.

    The shared directory is PROMETHEUS_MULTIPROC_DIR or, for a command run beside `make run`, the one in DATA_DIR.
    Without a shared directory, or if it cannot be created again, return the registry of this process.
    """
    beside: Path = settings.DATA_DIR / "prometheus"
    if FOLDER not in os.environ and not beside.is_dir():
        return REGISTRY
    folder = Path(os.environ.get(FOLDER, beside))
    try:
        # Somebody may have deleted it. Processes that are running count on in their deleted files.
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("no directory for metrics", extra={"event": "metrics_lost", "error": type(error).__name__})
        return REGISTRY
    registry = CollectorRegistry()
    registry.register(SharedCollector(folder))
    return registry


def counted(name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a counter by label values, which are tuples ordered by the names of the labels."""
    registry = process_registry()
    # The files of several processes are read as a whole; one process has thousands of samples of other metrics.
    metrics = registry.restricted_registry([f"{name}_total"]) if registry is REGISTRY else registry
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for metric in metrics.collect()
        if metric.name == name
        for sample in metric.samples
        if sample.name == f"{name}_total"
    }
