"""Containers share the folder of metric files: two processes must never write to the same file."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("pages", [0, 16, 24])
def test_a_full_disk_ends_no_process(tmp_path: Path, pages: int) -> None:
    """There is no room for the first block of a file, for the second one, or for its last ones."""
    count = """
import os, sys
from config.lib import metric_files
metric_files.share()
from prometheus_client import CollectorRegistry, Counter, multiprocess
counter = Counter("a", "b", ["label"])
for number in range(2000):
    counter.labels("x" * 100 + str(number)).inc()
    counter.labels("x" * 100 + "0").inc()
print(int(counter.labels("x" * 100 + "0")._value.get()))
list(multiprocess.MultiProcessCollector(CollectorRegistry()).collect())
"""
    mount = (
        f"mount -t tmpfs -o size={(pages + 1) * 4}k metrics {tmp_path} || exit 99; exec {sys.executable} -c '{count}'"
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount]
    environment = {"PATH": os.environ["PATH"], "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode in (1, 99) and ("unshare" in done.stderr or done.returncode == 99):
        pytest.skip("no file system can be mounted here")
    assert (done.returncode, done.stdout) == (0, "2001\n"), done.stderr
