"""A demo as whole processes, for tests that watch it from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import requests

from config.dev import embedded
from config.dev.processes import BASE_DIR, end_processes, postgres_processes, processes_of

COMMAND = [sys.executable, "-m", "config.dev.demo"]
_WITH_SETTINGS = """
import sys
from config.dev.demo import __main__ as demo
demo._SETTINGS.update({settings})
sys.argv[0] = "make demo"
sys.exit(demo.main())
"""


def environment(data_dir: Path, **more: str) -> dict[str, str]:
    kept = {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "DATA_DIR": str(data_dir), "WEB_WORKERS": "1"}
    return kept | {"PORT": str(embedded.free_port())} | more


class Running:
    """The demo of a folder; ``scene`` and other ``settings`` than the demo's own are those of its processes."""

    def __init__(self, folder: Path, *, scene: str = "calm", settings: dict[str, str] | None = None) -> None:
        self.folder, self.data_dir = folder, folder / "data"
        self.env = environment(self.data_dir, SCENE=scene)
        self.command = COMMAND
        if settings:
            self.command = [sys.executable, "-c", _WITH_SETTINGS.format(settings=settings)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.env['PORT']}"

    @property
    def messenger(self) -> str:
        return self.printed.split("simulated MAX   ")[1].split("/ ")[0]

    @property
    def printed(self) -> str:
        return (self.folder / "output").read_text()

    def start(self) -> float:
        """Start it, and return the seconds to the first page."""
        started = time.monotonic()
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 (ours)
                self.command, cwd=BASE_DIR, env=self.env, stdout=output, stderr=output, start_new_session=True
            )
        while "\nReady" not in self.printed:
            assert self.process.poll() is None, self.printed
            assert time.monotonic() < started + 300, self.printed
            time.sleep(0.1)
        assert requests.get(f"{self.url}/admin/login/", timeout=20).status_code == 200
        return time.monotonic() - started

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 0, self.printed

    def living(self) -> list[int]:
        return [*processes_of(self.data_dir), *postgres_processes(self.data_dir / "postgres")]

    def kill(self) -> None:
        self.process.kill()
        end_processes(self.living, seconds=0)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        urls = dict(line.split("=", 1) for line in (self.data_dir / "services.env").read_text().splitlines())
        with psycopg.connect(urls["DATABASE_URL"]) as database:
            return database.execute(query.encode()).fetchall()

    def count(self, query: str) -> int:
        return int(self.rows(query)[0][0])
