"""Merge the Prometheus counters of all processes on this machine, which write them to files in a shared directory.

The counts in the files of dead processes are added to an archive file, so that no counts are lost in a restart and the
directory does not keep growing.
"""

import fcntl
import logging
import mmap
import os
import re
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from config.lib.metric_files import FOLDER, HOST, create

_OWN_FILE = re.compile(rf"(\w+?)_(?:live\w+_)?{re.escape(HOST)}-(\d+)\.(db|new|added)")
_ARCHIVE = "dead"
_LOCK_SECONDS = 1.0
# The errors that prometheus_client raises for a damaged file. Earlier releases left empty files.
_DAMAGED = (struct.error, RuntimeError, ValueError, TypeError, AttributeError, LookupError)

logger = logging.getLogger(__name__)


class CountersError(Exception):
    """Raised when the counters of this machine's processes cannot be read."""


class SharedCollector(MultiProcessCollector):
    """Collect the metrics from the shared directory; raise CountersError if that fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        try:
            # Without a lock, another process could count a file twice, if it is in the archive but not yet deleted.
            with (self.folder / "lock").open("w") as lock:
                _lock(lock)
                _archive_dead(self.folder)
                return _merged([str(path) for path in self.folder.glob("*.db")])
        except OSError as error:
            logger.warning("counters not read", extra={"event": "counters_not_read", "error": type(error).__name__})
            raise CountersError from error


def _lock(file: IO[str]) -> None:
    """Lock the file; raise TimeoutError after _LOCK_SECONDS, because the process that holds the lock may be frozen."""
    ends_at = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= ends_at:
                raise TimeoutError from None
            time.sleep(0.01)
        else:
            return


def _merged(files: list[str]) -> list[Metric]:
    """Return the metrics in the files, without the files that cannot be read."""
    try:
        return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
    except (FileNotFoundError, PermissionError, *_DAMAGED):
        return list(MultiProcessCollector.merge([file for file in files if _is_readable(file)]))  # type: ignore[no-untyped-call]


def _is_readable(file: str) -> bool:
    try:
        MultiProcessCollector.merge([file])  # type: ignore[no-untyped-call]
    except (FileNotFoundError, PermissionError, *_DAMAGED) as error:
        _log_loss(error)
        return False
    return True


def _log_loss(error: Exception) -> None:
    logger.warning("unreadable file of metrics", extra={"event": "metrics_lost", "error": type(error).__name__})


def _archive_dead(folder: Path) -> None:
    """Add the counters and histograms of this host's dead processes to the archive, and delete these processes' files.

    If the disk is too full to enlarge the archive, the file to be added stays until there is room.
    """
    # Files that end with ".added" come first: a later process with the same ID may have a file too.
    for path in sorted(folder.glob(f"*_{HOST}-*"), key=lambda path: path.suffix):
        match = _OWN_FILE.fullmatch(path.name)
        with suppress(OSError):
            if match and match[3] == "added":
                _replace_archive(path)
            elif match and not _is_alive(int(match[2])):
                _add(path) if match[1] in ("counter", "histogram") and match[3] == "db" else path.unlink()


def _is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        return True
    return Path(f"/proc/{pid}").exists()


def _add(path: Path) -> None:
    """Add a file to the archive exactly once, even if this process is killed or has no permission to delete the file.

    First, the sum of the file and the archive is written to a third file. Then the added file is renamed to end with
    ".added". Before the renaming, only the two old files count; after it, only the sum, which replaces the archive.
    """
    totals = dict[str, tuple[float, float]]()
    for file in (_archive_of(path), path):
        for key, value, timestamp, _ in _values(file):
            totals[key] = totals.get(key, (0.0, 0.0))[0] + value, timestamp
    both = path.with_suffix(".sum")
    # At most 40 bytes are added to a key.
    create(both, max(8 + sum(len(key.encode()) + 40 for key in totals), mmap.PAGESIZE))
    total = MmapedDict(str(both))  # type: ignore[no-untyped-call]
    for key, (value, timestamp) in totals.items():
        total.write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
    total.close()  # type: ignore[no-untyped-call]
    added = path.with_suffix(".added")
    path.replace(added)
    _replace_archive(added)


def _replace_archive(added: Path) -> None:
    both = added.with_suffix(".sum")
    if both.exists():
        both.replace(_archive_of(added))
    added.unlink()


def _archive_of(path: Path) -> Path:
    return path.with_name(f"{path.name.partition('_')[0]}_{HOST}-{_ARCHIVE}.db")


def _values(path: Path) -> list[tuple[str, float, float, int]]:
    """Return a file's keys, values, timestamps and positions; none if it does not exist or is damaged."""
    try:
        # merge() also reads the keys: one damaged key would make the whole archive unreadable.
        MultiProcessCollector.merge([str(path)])  # type: ignore[no-untyped-call]
        return list(MmapedDict.read_all_values_from_file(str(path)))  # type: ignore[no-untyped-call]
    except FileNotFoundError:
        return []
    except _DAMAGED as error:
        _log_loss(error)
        return []


def process_registry() -> CollectorRegistry:
    """Return a registry with the metrics of all processes on this machine, or only of this process.

    The processes share the directory PROMETHEUS_MULTIPROC_DIR; a command that runs beside `make run` uses the one in
    DATA_DIR instead. Return the registry of this process if there is no shared directory, or if the directory has been
    deleted and cannot be created again.
    """
    beside: Path = settings.DATA_DIR / "prometheus"
    if FOLDER not in os.environ and not beside.is_dir():
        return REGISTRY
    folder = Path(os.environ.get(FOLDER, beside))
    try:
        # Somebody may have deleted the directory. Running processes go on counting in their deleted files.
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
