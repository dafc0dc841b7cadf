"""Container health checks: ``python -m config.alive NAME`` exits with 0 if the process is healthy, else with 1."""

import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path

import psycopg

from config import secret_files

_TIMEOUT = 4
_HEARTBEAT_SECONDS = 10
# beat touches its file every two seconds (config.scheduler).
_SCHEDULE_SECONDS = 60


def serves() -> bool:
    url = f"http://127.0.0.1:{os.environ.get('PORT') or 8095}/health"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def exports() -> bool:
    """Return whether ``serve_metrics`` responds, with metrics or with the 401 that it sends if a token is missing."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:9101/metrics", timeout=_TIMEOUT):
            return True
    except urllib.error.HTTPError as refusal:
        return refusal.code == HTTPStatus.UNAUTHORIZED
    except OSError:
        return False


def beats(kind: str) -> bool:
    """Return whether a process of this kind on this host sent a heartbeat in the last ten seconds."""
    query = "SELECT 1 FROM rollout_heartbeat WHERE process LIKE %s AND abs(extract(epoch FROM now() - seen_at)) < %s"
    secret_files.read_into(os.environ)
    try:
        with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=_TIMEOUT) as connection:
            row = connection.execute(query, [f"{kind}-{socket.gethostname()}-%", _HEARTBEAT_SECONDS]).fetchone()
    except psycopg.Error:
        return False
    return row is not None


def schedules() -> bool:
    files = Path(os.environ["DATA_DIR"]).glob("celerybeat-schedule*")
    return any(abs(time.time() - file.stat().st_mtime) < _SCHEDULE_SECONDS for file in files)


CHECKS: dict[str, Callable[[], bool]] = {
    "web": serves,
    "inbox": partial(beats, "inbox"),
    "worker": partial(beats, "worker"),
    "beat": schedules,
    "metrics": exports,
}

if __name__ == "__main__":
    sys.exit(not CHECKS[sys.argv[1]]())
