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


def test_a_process_whose_file_was_deleted_counts_on_and_returns_to_a_file(tmp_path: Path) -> None:
    script = f"""
from config.lib import metric_files
from pathlib import Path
metric_files._RETRY_SECONDS = 0
metric_files.share()
from prometheus_client import CollectorRegistry, Counter, multiprocess
counter = Counter("a", "b", ["label"])
counter.labels("0").inc()
file, = Path("{tmp_path}").glob("*.db")
file.unlink()
for number in range(2000):
    counter.labels("x" * 100 + str(number)).inc()
counter.labels("0").inc()
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(int(registry.get_sample_value("a_total", dict(label="0"))))
"""
    environment = {"PATH": os.environ["PATH"], "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def run_in_pages(folder: Path, pages: int, script: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script with the metric files in a file system of so many pages; skip the test if none is possible.

    In CI, fail instead: nobody would notice that the disk has not been full for years.
    """
    mount = f"mount -t tmpfs -o size={pages * 4}k metrics {folder} || exit 99; exec {sys.executable} -c '{script}'"
    environment = {"PATH": os.environ["PATH"], "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    environment |= {"DEBUG": "true", "ENV_FILE": "/dev/null", "DJANGO_SETTINGS_MODULE": "config.settings"}
    # Root needs no user namespace, which the system may forbid.
    for options in (["--user", "--map-root-user"], []):
        command = ["unshare", *options, "--mount", "sh", "-c", mount]
        done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 99 and not (done.returncode == 1 and "unshare" in done.stderr):
            return done
    reason = f"no file system can be mounted here: {done.stderr}"
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.mark.parametrize("is_ci", [False, True])
def test_a_full_disk_that_cannot_be_made_fails_only_in_ci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_ci: bool
) -> None:
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\necho unshare: Operation not permitted >&2; exit 1")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CI", raising=False)
    if is_ci:
        monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception if is_ci else pytest.skip.Exception, match="not permitted"):
        run_in_pages(tmp_path, 1, "")


@pytest.mark.long
@pytest.mark.parametrize("pages", [1, 17, 25])
def test_a_full_disk_ends_no_process(tmp_path: Path, pages: int) -> None:
    """There is no room for the first block of a file, for the second one, or for its last ones."""
    script = """
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
    done = run_in_pages(tmp_path, pages, script)
    assert (done.returncode, done.stdout) == (0, "2001\n"), done.stderr


def test_the_dead_are_counted_while_the_disk_is_full(tmp_path: Path) -> None:
    """Their files stay until the archive has room."""
    script = """
import os, subprocess, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from monitoring.stats.process_counters import SharedCollector
folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
count = "from config.lib import metric_files as m; m.share(); from prometheus_client import Counter;"
count += "Counter(chr(97), chr(98), [chr(99)]).labels(chr(120) * 9000).inc()"
def total():
    registry = CollectorRegistry()
    registry.register(SharedCollector(folder))
    value = registry.get_sample_value("a_total", {"c": "x" * 9000})
    return int(value), len(list(folder.glob("counter_*-[0-9]*.db")))
for _ in range(2):
    subprocess.run([sys.executable, "-c", count], check=True)
    with (folder / "ballast").open("wb", 0) as ballast:
        try:
            while True: ballast.write(b"x" * 4096)
        except OSError: pass
    print(*total())
    (folder / "ballast").unlink()
    print(*total())
"""
    done = run_in_pages(tmp_path, 60, script)
    assert (done.returncode, done.stdout.split("\n")[:4]) == (0, ["1 1", "1 0", "2 1", "2 0"]), done.stderr[-2000:]


@pytest.mark.long
@pytest.mark.parametrize(("pages", "labels"), [(1, 10), (17, 2000), (25, 2000)])
def test_a_process_returns_to_its_file_when_there_is_room(tmp_path: Path, pages: int, labels: int) -> None:
    """It started while the disk was full, or needed more room then."""
    script = f"""
from config.lib import metric_files
import os, subprocess
metric_files._RETRY_SECONDS = 0
metric_files.share()
from prometheus_client import CollectorRegistry, Counter, multiprocess
def total():
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    value = registry.get_sample_value("a_total", dict(label="x" * 100 + "0"))
    return value and int(value)
counter = Counter("a", "b", ["label"])
for number in range({labels}):
    counter.labels("x" * 100 + str(number)).inc()
counter.labels("x" * 100 + "0").inc()
before = total()
folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
subprocess.run(["mount", "-o", "remount,size=4m", folder], check=True)
counter.labels("x" * 100 + "0").inc()
print(before != 3, total())
counter.labels("x" * 100 + "0").inc()
for number in range(4000):
    counter.labels("y" * 100 + str(number)).inc()
print(total(), len(os.listdir(folder)))
for number in range({labels}):
    counter.labels("x" * 100 + str(number)).inc()
print(total(), int(counter.labels("x" * 100 + str({labels} - 1))._value.get()))
"""
    done = run_in_pages(tmp_path, pages, script)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["True 3", "4 1", "5 2"]), done.stderr


def test_a_file_that_cannot_be_deleted_is_added_once(tmp_path: Path) -> None:
    """Nobody can delete or rename a file on which another one is mounted."""
    script = """
import os, subprocess, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from monitoring.stats.process_counters import SharedCollector
folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
count = "from config.lib import metric_files as m; m.share(); from prometheus_client import Counter;"
count += "Counter(chr(97), chr(98)).inc()"
subprocess.run([sys.executable, "-c", count], check=True)
file, = folder.glob("*.db")
subprocess.run(["mount", "--bind", file, file], check=True)
registry = CollectorRegistry()
registry.register(SharedCollector(folder))
for _ in range(3):
    print(registry.get_sample_value("a_total"))
subprocess.run(["umount", file], check=True)
print(registry.get_sample_value("a_total"), len(list(folder.iterdir())))
"""
    done = run_in_pages(tmp_path, 60, script)
    assert (done.returncode, done.stdout.split()) == (0, ["1.0", "1.0", "1.0", "1.0", "2"]), done.stderr[-2000:]


def test_it_continues_the_counts_of_an_earlier_process_with_its_id(tmp_path: Path) -> None:
    """If it cannot open that file, it does not replace it later either."""
    script = """
from config.lib import metric_files
import os, resource
metric_files._RETRY_SECONDS = 0
metric_files.share()
from prometheus_client import CollectorRegistry, Counter, multiprocess, values
from prometheus_client.mmap_dict import MmapedDict, mmap_key
def total():
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return int(registry.get_sample_value("a_total"))
folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
earlier = MmapedDict(f"{folder}/counter_{metric_files.HOST}-{os.getpid()}.db")
earlier.write_value(mmap_key("a", "a_total", [], [], "b"), 5, 0)
earlier.close()
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
counter = Counter("a", "b")
counter.inc()
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
counter.inc()
print(total(), counter._value.get())
"""
    done = run_in_pages(tmp_path, 60, script)
    assert (done.returncode, done.stdout) == (0, "5 2.0\n"), done.stderr
