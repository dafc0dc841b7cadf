"""Containers share the folder of metric files: two processes must never write to the same file."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from config.dev.processes import BASE_DIR


def test_it_names_the_files_by_host_and_process(tmp_path: Path) -> None:
    code = (
        "from config.lib import metric_files; metric_files.share();"
        "from prometheus_client import Counter; Counter('a', 'b').inc(); import os; print(os.getpid())"
    )
    # The volume of a new pod is empty.
    folder = tmp_path / "new" / "metrics"
    environment = {"PATH": os.environ["PATH"], "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    pids = []
    for _ in range(2):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
        pids.append(done.stdout.strip())
    host = socket.gethostname().replace("_", "-")
    assert {path.name for path in folder.iterdir()} == {f"counter_{host}-{pid}.db" for pid in pids}
    total = (
        "from prometheus_client import CollectorRegistry, multiprocess as m; r = CollectorRegistry();"
        "m.MultiProcessCollector(r); print(r.get_sample_value('a_total'))"
    )
    command = [sys.executable, "-c", total]
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "2.0\n"
