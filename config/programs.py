"""The commands with which `make run` and the containers start the project's processes.

``python -m config.programs web`` replaces itself with the web server, or exits with the reason why it must not start.
"""

import os
import resource
import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

# Open files that a web process needs besides its clients: for stores, threads, files and libraries.
_RESERVED_FILES = 512


def open_files() -> int:
    """Raise this process's limit on open files as far as allowed, and return it; child processes inherit it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 65_536 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def commands(host: str, port: int, web_workers: int, data_dir: Path) -> dict[str, list[str]]:
    """Return a dict from the name of each process, in start order, to its arguments for the Python interpreter."""
    # The backpressure is the largest number of concurrent connections, including those of slow senders.
    backpressure = max(min(16_384, open_files() - _RESERVED_FILES), 256)
    web = "config.web_server --interface rsgi --loop uvloop --http 1 --no-ws --backlog 4096"
    web += f" --backpressure {backpressure} --respawn-failed-workers"
    web += " --http1-header-read-timeout 10000 --http1-buffer-size 65536"
    # On a reload, the respawn interval gives a new worker three seconds to import before the old worker is ended, which
    # still answers the requests that wait for a lock: they have 8.5 seconds (config.rsgi.bridge).
    web += " --respawn-interval 3 --workers-kill-timeout 11"
    web += f" --host {host} --port {port} --workers {web_workers} config.web:application"
    celery = "celery --app config.celery --quiet"
    worker = f"{celery} worker --loglevel WARNING --concurrency 1 --without-mingle --without-gossip"
    beat = f"{celery} beat --loglevel WARNING --schedule"
    return {
        "web": ["-m", *web.split()],
        "inbox": ["manage.py", "process_inbox"],
        "worker": ["-m", *worker.split()],
        "beat": ["-m", *beat.split(), str(data_dir / "celerybeat-schedule")],
    }


def main(name: str) -> None:
    try:
        from config import settings  # noqa: PLC0415 (refuses weak secrets before a port is bound)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    workers = int(os.environ.get("WEB_WORKERS") or os.cpu_count() or 1)
    port = int(os.environ.get("PORT") or 8095)
    argv = commands("0.0.0.0", port, workers, settings.DATA_DIR)[name]  # noqa: S104 (in a container)
    # PostgreSQL shows this name to administrators.
    os.environ.setdefault("PGAPPNAME", f"directory-{name}")
    os.execv(sys.executable, [sys.executable, *argv])  # noqa: S606 (our own command)


if __name__ == "__main__":
    main(sys.argv[1])
