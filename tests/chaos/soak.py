"""``make soak``: half an hour of steady load; exit code 1 if something grows without reason or answers become slower.

100 updates and 5 new employees a second, while all reports and the home page are read. Compared are the middle and the
end of the time after the first tenth, in which caches fill and processes load what they need.
"""

import argparse
import itertools
import json
import random
import re
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import requests
from rich.console import Console
from rich.table import Table

from config.dev.supervisor import LOG_LIMIT
from tests.chaos.__main__ import interrupt
from tests.chaos.client import Client
from tests.chaos.fake_direct_api import DirectApi, direct_api
from tests.chaos.readers import REPORTS
from tests.chaos.responses import Answers, examples
from tests.chaos.system import PARTS, System
from tests.chaos.updates import generate, word
from tests.chaos.webhook_load import Sender

UPDATES_PER_SECOND, CREATES_PER_SECOND = 100, 5
_SENDERS = 4
_PEOPLE = 5_000
_WARM_UP = 0.1
_REPORT_PAUSE, _HOME_PAUSE = 0.5, 5.0
_MB = 1024 * 1024
# What may come between the middle and the end: of memory, by part; of a table that is not listed below; of files.
_MEMORY_MB, _MEMORY_SHARE, _TABLE_MB, _FILES = 16, 0.1, 2, 16
_P99_FACTOR, _P99_MS = 1.5, 50
# Tables that have rows for each update, employee or minute, and for how long.
GROWING = {
    "webhook_inbox": "a row for each update, for 30 days",
    "webhook_inbox_rollups": "a row for each minute",
    "employees": "a row for each employee",
    "max_id_claims": "a row for each employee with a MAX ID",
    "comparisons": "a row for each lookup that was compared, for 30 days",
    "comparisons_waiting": "a row for each lookup, until it is compared",
    "direct_answers": "a row for each phone, for five minutes",
}


@dataclass
class Sample:
    """Values by what they measure; sizes in MB, times in ms."""

    values: dict[str, float] = field(default_factory=dict)


class Load:
    def __init__(self, system: System, api: DirectApi, seconds: float) -> None:
        self.system, self.api = system, api
        self.ends_at = time.monotonic() + seconds
        self.answers = Answers()
        self.client = Client(system, self.answers)
        self.times: dict[str, list[float]] = defaultdict(list)
        self.wrong: list[str] = []
        self._numbers = itertools.count(random.randrange(10**8))
        self._user_ids = [str(10**13 + number) for number in range(_PEOPLE)]
        runs = [(self._send, _SENDERS), (self._create, 1), (self._create, 1), (self._read_reports, 1)]
        runs += [(self._read_home, 1)]
        self._threads = [threading.Thread(target=run, daemon=True) for run, count in runs for _ in range(count)]

    def start(self) -> None:
        self.answers.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.ends_at = 0.0
        self.answers.stop()

    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at

    def take_times(self) -> dict[str, list[float]]:
        """Return the milliseconds of the answers since the last call, by kind."""
        taken, self.times = self.times, defaultdict(list)
        return taken

    def _note(self, kind: str, started: float, status: int | str, expected: int) -> None:
        self.times[kind].append((time.monotonic() - started) * 1000)
        if status != expected:
            self.wrong.append(f"{kind}: {status}")

    def _send(self) -> None:
        choice = random.Random()
        pace = _Pace(UPDATES_PER_SECOND / _SENDERS)
        with closing(Sender(self.system)) as sender:
            while not self.is_over():
                body = json.loads(generate(choice, 1).bodies[0])
                person = {"user_id": 10**13 + choice.randrange(_PEOPLE)}
                text = json.dumps(_with_person(body, person)).encode()
                pace.wait()
                started = time.monotonic()
                self._note("update", started, sender.post(text).answer, HTTPStatus.OK)

    def _create(self) -> None:
        pace = _Pace(CREATES_PER_SECOND / 2)
        while not self.is_over():
            number = next(self._numbers)
            phone = f"79{number:09}"
            body = {"phone": f"+{phone}", "university_name": "Нагрузка"}
            if number % 2:
                body["max_id"] = random.choice(self._user_ids)
            else:
                user = {"user_id": 10**14 + number, "first_name": "Прямой", "last_name": word(number)}
                self.api.users[phone] = user | {"phone_number": phone}
            pace.wait()
            started = time.monotonic()
            status = self.client.request("POST", "/employees", body, expected=(201,)).status
            self._note("create", started, status, HTTPStatus.CREATED)

    def _read_reports(self) -> None:
        for path in itertools.cycle(REPORTS):
            if self.is_over():
                return
            started = time.monotonic()
            self._note("report", started, self.client.request("GET", path).status, HTTPStatus.OK)
            time.sleep(_REPORT_PAUSE)

    def _read_home(self) -> None:
        url = f"http://127.0.0.1:{self.system.port}/admin/"
        with requests.Session() as session:
            log_in = session.get(f"{url}login/", timeout=30)
            _send_without_tls(session)
            [token] = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', log_in.text))
            password = self.system.environment["DJANGO_SUPERUSER_PASSWORD"]
            form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token, "next": "/admin/"}
            session.post(f"{url}login/", form, timeout=30, allow_redirects=False).raise_for_status()
            while not self.is_over():
                _send_without_tls(session)
                started = time.monotonic()
                answer = session.get(url, timeout=30, allow_redirects=False)
                self._note("home page", started, answer.status_code, HTTPStatus.OK)
                time.sleep(_HOME_PAUSE)


def _send_without_tls(session: requests.Session) -> None:
    """Have the cookies of production sent to a server without TLS, too."""
    for cookie in session.cookies:
        cookie.secure = False


class _Pace:
    def __init__(self, per_second: float) -> None:
        self._pause, self._due = 1 / per_second, time.monotonic()

    def wait(self) -> None:
        self._due += self._pause
        time.sleep(max(0.0, self._due - time.monotonic()))


def _with_person(value: object, person: dict[str, int]) -> object:
    """Return an update in which the sender is another person."""
    if isinstance(value, dict):
        found = {name: _with_person(each, person) for name, each in value.items()}
        return found | person if "user_id" in found else found
    return value


def measure(system: System, times: dict[str, list[float]]) -> Sample:
    values: dict[str, float] = {}
    for part in PARTS:
        pids = system.pids(part)
        values[f"memory of {part}, MB"] = sum(map(_memory, pids)) / _MB
        values[f"open files of {part}"] = sum(map(_open_files, pids))
    with system.database() as database:
        rows = database.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        ).fetchone()
        values["connections to PostgreSQL"] = rows[0] if rows else 0
        sizes = database.execute("SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables").fetchall()
        values |= {f"table {name}, MB": size / _MB for name, size in sizes}
    with system.cache() as cache:
        values["memory of profiles in Redis, MB"] = cache.info("memory")["used_memory"] / _MB
        values["connections to Redis"] = cache.info("clients")["connected_clients"]
    for log in (system.data_dir / "logs").glob("*.log*"):
        values[f"log {log.name}, MB"] = log.stat().st_size / _MB
    for kind, milliseconds in times.items():
        ordered = sorted(milliseconds)
        values[f"{kind} p50, ms"] = ordered[len(ordered) // 2]
        values[f"{kind} p99, ms"] = ordered[len(ordered) * 99 // 100]
    return Sample(values)


def _memory(pid: int) -> int:
    """Return the bytes that are a process's own; PostgreSQL's processes share the others."""
    try:
        [kilobytes] = re.findall(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except (OSError, ValueError):
        return 0
    return int(kilobytes) * 1024


def _open_files(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def _allowed(name: str, first: float, before: float) -> float:
    """Return the most that a value may be at the end; ``first`` was measured at the start, ``before`` in the middle."""
    kind, _, rest = name.partition(" ")
    if kind == "table":
        is_growing = rest.removesuffix(", MB") in GROWING
        return before + _TABLE_MB + (max(0.0, before - first) * 1.5 if is_growing else 0)
    if kind == "log":
        return 2 * LOG_LIMIT / _MB
    if name.endswith("p99, ms"):
        return before * _P99_FACTOR + _P99_MS
    return before + max(_MEMORY_MB if kind == "memory" else _FILES, before * _MEMORY_SHARE)


def drift(start: Sample, middle: Sample, end: Sample) -> dict[str, str]:
    """Return what is larger at the end than it may be."""
    found = {}
    for name, value in end.values.items():
        most = _allowed(name, start.values.get(name, 0.0), middle.values.get(name, 0.0))
        if value > most and "p50" not in name:
            found[name] = f"at most {most:.1f} expected"
    return found


def table_of(samples: list[Sample], minutes: list[float], found: dict[str, str]) -> Table:
    table = Table("", *[f"{minute:.1f} min" for minute in minutes], "")
    for name in samples[-1].values:
        values = [sample.values.get(name) for sample in samples]
        is_shown = name in found or not name.startswith(("table", "log")) or max(v or 0 for v in values) >= 1
        if is_shown:
            texts = ["—" if value is None else f"{value:.1f}" for value in values]
            explained = GROWING.get(name.removeprefix("table ").removesuffix(", MB"), "")
            table.add_row(name, *texts, found.get(name, explained), style="red" if name in found else "")
    return table


def run(console: Console, system: System, api: DirectApi, minutes: float) -> bool:
    """Run the load, print the three tables, and return whether all stayed flat."""
    load = Load(system, api, minutes * 60)
    load.start()
    began, samples, at = time.monotonic(), list[Sample](), list[float]()
    try:
        for share in (_WARM_UP, (1 + _WARM_UP) / 2, 1.0):
            while time.monotonic() < began + share * minutes * 60 - 1:
                time.sleep(1.0)
            samples.append(measure(system, load.take_times()))
            at.append((time.monotonic() - began) / 60)
            found = drift(*samples) if len(samples) == 3 else {}
            console.print(table_of(samples, at, found))
    finally:
        load.stop()
    wrong = Counter(load.wrong)
    console.print(f"answers of an unexpected kind: {dict(wrong)}")
    console.print(f"answers after their bound: {len(load.answers.late)}\n{examples(load.answers.late)}")
    console.print("[red]drift" if found else "[green]no drift", found or "")
    return not (found or wrong or load.answers.late)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    minutes = parser.parse_args().minutes
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    console = Console(width=140)
    is_flat = False
    with direct_api() as api:
        system = System(**api.settings())
        try:
            system.start()
            is_flat = run(console, system, api, minutes)
        except KeyboardInterrupt:
            console.print("interrupted")
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            left = system.stop()
    if left:
        console.print(f"[red]processes that were still running, now killed: {left}")
    return 0 if is_flat and not left else 1


if __name__ == "__main__":
    sys.exit(main())
