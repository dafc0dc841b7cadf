"""Compare this release with an earlier one, path by path: both run, and are loaded in turn in short rounds.

``ratio`` is the median over the rounds of this release's rate by the other's; ``CPU`` the ratio of their processor
time a request, which other work on the machine disturbs less.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from itertools import product
from pathlib import Path
from statistics import median

from rich.console import Console

from config.dev.processes import BASE_DIR
from tests.bench import wrk
from tests.bench.report import Report
from tests.bench.stage import cpu_of
from tests.upgrade.installation import Installation, NoRelease, tree_of

_SCRIPT = Path(__file__).with_name("requests.lua")
_PEOPLE, _HIRED = 200, 100
_LEAST = {"webhook": 1.0}
_LEAST_OF_OTHERS = 0.95
_CONNECTIONS = (1, 16, 64)


@dataclass
class Release:
    """A running release, and the credentials of its administrator."""

    installation: Installation
    headers: dict[str, str] = field(default_factory=dict)
    created: int = 1_000_000

    def prepare(self) -> None:
        installation = self.installation
        university = {"name": "Университет", "inn": "7707083893", "kpp": "773601001"}
        installation.api("/universities", university, installation.token())
        installation.receive(0, _PEOPLE)
        for phase, percent in (("1", "100"), ("2", "100"), ("3", "25")):
            words = ["--phase", phase, "--percent", percent, "--by", "bench", "--reason", "bench", "--force"]
            installation.manage("rollout", "set", *words)
        installation.hire(0, _HIRED)
        code = (
            "from django.contrib.auth.models import User; from django.test import Client; c = Client();"
            "c.force_login(User.objects.get(username='admin')); print('session:', c.cookies['sessionid'].value)"
        )
        # The log goes to stderr, which comes after.
        session = installation.manage("shell", "--command", code).partition("session: ")[2].split()[0]
        self.headers = {
            "Authorization": f"Bearer {installation.token()}",
            "Cookie": f"sessionid={session}",
            "Content-Type": "application/json",
        }

    def shoot(self, path: str, connections: int, seconds: int) -> tuple[wrk.Shot, float]:
        """Return what wrk saw and the processor time of the web server in µs a request."""
        pids = self.installation.pids("web")
        before = sum(map(cpu_of, pids))
        send = self._webhook if path == "webhook" else partial(self._request, PATHS[path])
        shot = send(connections, seconds)
        return shot, (sum(map(cpu_of, pids)) - before) / max(shot.accepted, 1) * 1e6

    def status(self, path: str) -> int:
        """Return the status of one request, without following a redirect."""
        method, target, body = PATHS[path]
        # wrk leaves requests behind, which are served first.
        connection = HTTPConnection("127.0.0.1", self.installation.port, timeout=60)
        self.created += 1
        body = body % self.created if body else body
        connection.request(method, target, body.encode() or None, self.headers)
        return connection.getresponse().status

    def _webhook(self, connections: int, seconds: int) -> wrk.Shot:
        return wrk.shoot(self._url, self.installation.secret, connections=connections, seconds=seconds)

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.installation.port}"

    def _request(self, request: tuple[str, str, str], connections: int, seconds: int) -> wrk.Shot:
        method, path, body = request
        headers = "|".join(f"{name}={value}" for name, value in self.headers.items())
        command = [
            "wrk",
            "--threads",
            "1",
            "--connections",
            f"{connections}",
            "--duration",
            f"{seconds}s",
            "--timeout",
            "10s",
        ]
        command += ["--script", str(_SCRIPT), self._url, method, path, headers, body, str(self.created)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (our own script)
        shot = wrk.Shot(**json.loads(done.stdout.splitlines()[-1]))
        # wrk sends a few requests more than it counts.
        self.created += shot.requests + 1000
        return shot


PATHS = {
    "webhook": ("POST", "/webhook/max", ""),
    "employee": ("GET", "/employees/1", ""),
    "list": ("GET", "/employees?page_size=20", ""),
    "profile": ("GET", "/profiles/u1", ""),
    "health": ("GET", "/health", ""),
    "home page": ("GET", "/admin/", ""),
    # Last, because the other paths would become slower with the rows that it adds.
    "create": ("POST", "/employees", '{"phone":"+7%010d","max_id":"u1","university_id":1}'),
}


def compare(old: Release, new: Release, rounds: int, seconds: int, console: Console) -> Report:
    report = Report(
        "releases", "This release by the earlier one", ["path", "conns", "old/s", "new/s", "ratio", "CPU", "wanted"]
    )
    for path, connections in product(PATHS, _CONNECTIONS):
        for release, name in ((old, "earlier release"), (new, "this release")):
            if path != "webhook" and (status := release.status(path)) not in (200, 201):
                report.faults.append(f"{path}, {name}: {status}")
        pairs = []
        for number in range(rounds + 1):
            console.print(f"{path}, {connections} connections, round {number} of {rounds}", style="dim")
            releases = (old, new) if number % 2 else (new, old)
            taken = {id(release): release.shoot(path, connections, seconds) for release in releases}
            shots = [taken[id(old)], taken[id(new)]]
            for (shot, _cpu), name in zip(shots, ("earlier release", "this release"), strict=True):
                if shot.refused or shot.broken:
                    report.faults.append(f"{path}, {name}: {shot.refused} refused, {shot.broken} broken")
            # The first round warms both up.
            pairs += [shots] if number else []
        ratio = median(new_shot.rate / max(old_shot.rate, 1) for (old_shot, _), (new_shot, _) in pairs)
        cpu = median(new_cpu / max(old_cpu, 1) for (_, old_cpu), (_, new_cpu) in pairs)
        rates = [median(pair[side][0].rate for pair in pairs) for side in (0, 1)]
        least = _LEAST.get(path, _LEAST_OF_OTHERS)
        report.add(path, connections, f"{rates[0]:.0f}", f"{rates[1]:.0f}", f"{ratio:.3f}", f"{cpu:.3f}", f"≥ {least}")
        console.print(f"{path}, {connections} connections: {ratio:.3f}")
        report.figures[f"{path} {connections}"] = {
            "ratio": ratio,
            "cpu": cpu,
            "old_per_s": rates[0],
            "new_per_s": rates[1],
        }
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.releases", description=__doc__)
    parser.add_argument("revision", help="the earlier release")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    given = parser.parse_args()
    console = Console(stderr=True)
    old, new = Release(Installation()), Release(Installation())
    try:
        wrk.require()
        with tempfile.TemporaryDirectory() as folder:
            old.installation.run(tree_of(given.revision, Path(folder)))
            new.installation.run(BASE_DIR)
            for release in (old, new):
                release.prepare()
            report = compare(old, new, given.rounds, given.seconds, console)
    except (wrk.Missing, NoRelease) as error:
        sys.exit(str(error))
    finally:
        old.installation.stop()
        new.installation.stop()
    Console().print(report.table())
    for fault in report.faults:
        sys.stderr.write(f"WRONG: {fault}\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
