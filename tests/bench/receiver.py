"""Measures ``POST /webhook/max``, then processing and visibility.

In the same run: a bare Django view under the same server, the server's own empty answer, and an earlier release.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median, quantiles

from config.dev.processes import Child, stop
from tests.bench import wrk
from tests.bench.report import Report
from tests.bench.stage import Stage, cpu_seconds
from tests.bench.sustained import Sustained, send_and_watch, send_steadily, sync_steadily

Say = Callable[[str], None]

_CONNECTIONS = (1, 16, 64, 256)
_ROUNDS = 5
_TRACED_ROUNDS = 3
_SECONDS = 2
_WARM_UP_SECONDS = 1
_QUIET_SECONDS = 0.1
_BACKLOG = 20_000
_STEADY_RATE = 300
_STEADY_SECONDS = 5
# The earlier release had 256 threads for webhook requests, and so has the bare view.
_WSGI = ("--interface", "wsgi", "--blocking-threads", "256", "--backpressure", "512")
_STEADY_ROWS = {
    "this tree": "answer at {}/s, this tree",
    "bare view": "answer at {}/s, bare view",
    "disk": "page synced to the disk at {}/s",
}
# The required ratio of our throughput to the earlier release's, by connections.
_LEAST_RATIO = {16: 1.1, 64: 1.4, 256: 1.8}


@dataclass
class Target:
    """A server to be loaded, and the processes whose processor time is counted."""

    name: str
    url: str
    secret: str
    cpu: Callable[[], float]
    # By connections: wrk's figures and µs of processor time per request, one of each round.
    shots: dict[int, list[tuple[wrk.Shot, float]]] = field(default_factory=lambda: {n: [] for n in _CONNECTIONS})

    def shoot(self, connections: int, seconds: float) -> tuple[wrk.Shot, float]:
        before = self.cpu()
        shot = wrk.shoot(self.url, self.secret, connections=connections, seconds=seconds)
        return shot, (self.cpu() - before) / max(shot.accepted, 1) * 1e6

    def of(self, connections: int, figure: Callable[[tuple[wrk.Shot, float]], float]) -> float:
        return median(map(figure, self.shots[connections]))


def run(stage: Stage, say: Say, earlier: Path | None = None) -> list[Report]:
    """Measure the receiver; also that of an earlier release, if its tree is given."""
    ours = stage.start_web()
    others = {
        "bare view": stage.start_other("bare", "tests.bench.bare:application", *_WSGI),
        "empty answer": stage.start_other("empty", "tests.bench.empty:application"),
    }
    if stage.collector:
        others["with traces"] = stage.start_traced_web()
    if earlier:
        others["earlier release"] = stage.start_earlier(earlier)
    inbox = stage.process("inbox")
    try:
        throughput = _throughput(stage, say, {"this tree": ours, **others})
        processing = Report("processing", "Processing, one inbox worker", ["", "measured", "required"])
        if stage.collector:
            _compare_drains(stage, processing, say)
        backlog, rate = _drain(stage, inbox, say)
        processing.figures |= {"backlog": backlog, "drain_per_s": rate}
        processing.add(f"backlog of {backlog} drained, updates/s", f"{rate:.0f}", "≥ 10000")
        _steady(stage, others["bare view"][0], processing, say)
    finally:
        stop([inbox, *(process for _url, process in others.values())], seconds=5)
    return [throughput, processing]


# Throughput


def _throughput(stage: Stage, say: Say, servers: dict[str, tuple[str, Child]]) -> Report:
    targets = [
        Target(name, url, stage.secret, partial(cpu_seconds, process)) for name, (url, process) in servers.items()
    ]
    report = Report(
        "throughput",
        f"POST /webhook/max: medians of {_ROUNDS} interleaved rounds",
        ["conns", "", "req/s", "by bare", "by earlier", "required", "p50 ms", "p99 ms", "CPU µs", "by bare"],
        notes=[f"granian {stage.web_flags()}", "fsync and synchronous_commit on, wrk with one thread beside it"],
    )
    for target in targets:
        target.shoot(16, _WARM_UP_SECONDS)
    for number, connections in product(range(_ROUNDS), _CONNECTIONS):
        say(f"throughput, round {number + 1} of {_ROUNDS}, {connections} connections")
        # Another target begins in each round.
        for target in targets[number % len(targets) :] + targets[: number % len(targets)]:
            _measure(stage, target, connections, report)
    for connections, target in product(_CONNECTIONS, targets):
        _add_row(report, connections, target, targets)
    if stage.collector:
        traced = [report.figures[f"{number} with traces"] for number in _CONNECTIONS]
        for name, words in (("rate", "req/s"), ("cpu", "CPU")):
            ratios = " / ".join(f"{figures[f'{name} by this tree']:.2f}" for figures in traced)
            report.notes.append(f"{words} with traces, by this tree: {ratios}")
    return report


def _measure(stage: Stage, target: Target, connections: int, report: Report) -> None:
    """Load the target; compare the 200s of ours with the rows that it stored."""
    stored_before = stored(stage) if target.name == "this tree" else 0
    shot, cpu_us = target.shoot(connections, _SECONDS)
    target.shots[connections].append((shot, cpu_us))
    if shot.refused or shot.broken:
        fault = f"{target.name}: {shot.refused} refused and {shot.broken} broken at {connections} connections"
        report.faults.append(fault)
    if target.name == "this tree":
        rows = stored(stage) - stored_before
        # wrk ends without waiting for the requests under way, one for each connection.
        if not shot.accepted <= rows <= shot.accepted + connections:
            report.faults.append(f"{shot.accepted} answers 200, but {rows} rows, at {connections} connections")


def _add_row(report: Report, connections: int, target: Target, targets: list[Target]) -> None:
    figures = {
        "per_s": target.of(connections, lambda pair: pair[0].rate),
        "p50_ms": target.of(connections, lambda pair: pair[0].p50_ms),
        "p99_ms": target.of(connections, lambda pair: pair[0].p99_ms),
        "cpu_us": target.of(connections, lambda pair: pair[1]),
    }
    for other in targets:
        pairs = list(zip(target.shots[connections], other.shots[connections], strict=True))
        figures[f"rate by {other.name}"] = median(own[0].rate / its[0].rate for own, its in pairs)
        figures[f"cpu by {other.name}"] = median(own[1] / max(its[1], 1) for own, its in pairs)
    report.figures[f"{connections} {target.name}"] = figures
    required = {1: "p50 < 1", **{number: f"≥ {ratio} earlier" for number, ratio in _LEAST_RATIO.items()}}
    report.add(
        connections,
        target.name,
        f"{figures['per_s']:.0f}",
        f"{figures['rate by bare view']:.2f}",
        f"{figures['rate by earlier release']:.2f}" if "rate by earlier release" in figures else "",
        required[connections] if target.name == "this tree" else "",
        f"{figures['p50_ms']:.2f}",
        f"{figures['p99_ms']:.2f}",
        f"{figures['cpu_us']:.0f}",
        f"{figures['cpu by bare view']:.2f}",
    )


def stored(stage: Stage) -> int:
    """Count the rows of the inbox once their number stands still."""
    with stage.database() as database:
        count = -1
        while count != (count := _number(database.execute("SELECT count(*) FROM webhook_inbox").fetchone())):
            time.sleep(_QUIET_SECONDS)
        return count


def _number(row: tuple[int, ...] | None) -> int:
    return row[0] if row else 0


# Processing

# A batch has the time at which it began, so the last batch is not counted.
_DRAIN_RATE = """
SELECT count(*) FILTER (WHERE finished_at < last) / extract(epoch FROM last - min(finished_at))
FROM webhook_inbox, (SELECT max(finished_at) AS last FROM webhook_inbox) AS newest GROUP BY last
"""


def _compare_drains(stage: Stage, report: Report, say: Say) -> None:
    """Drain a backlog with traces and one without, in turn."""
    ratios = []
    for _ in range(_TRACED_ROUNDS):
        rates = []
        for inbox in (stage.traced("inbox"), stage.process("inbox")):
            rates.append(_drain(stage, inbox, say)[1])
            stop([inbox], seconds=5)
        ratios.append(rates[0] / rates[1])
    report.figures["drain with traces by without"] = ratio = median(ratios)
    report.add(f"drained with traces, by without, median of {_TRACED_ROUNDS} rounds", f"{ratio:.2f}", "")


def _drain(stage: Stage, inbox: Child, say: Say) -> tuple[int, float]:
    """Store a backlog and start the inbox worker; return the backlog, and the updates per second."""
    say("storing a backlog")
    with stage.database() as database:
        database.execute("TRUNCATE webhook_inbox")
    while (backlog := stored(stage)) < _BACKLOG:
        wrk.shoot(stage.launch.url, stage.secret, connections=64, seconds=_SECONDS)
    say(f"draining {backlog} updates")
    stage.start(inbox, lambda: True)
    with stage.database() as database:
        while _number(database.execute("SELECT count(*) FROM webhook_inbox WHERE state = 'pending'").fetchone()):
            time.sleep(0.2)
        row = database.execute(_DRAIN_RATE).fetchone()
    return backlog, float(_number(row))


def _steady(stage: Stage, bare_url: str, report: Report, say: Say) -> None:
    """Send at a steady rate to the bare view and to the receiver, and write to the disk alone, in turn."""
    answers: dict[str, list[tuple[float, float]]] = {"this tree": [], "bare view": [], "disk": []}
    visible = []
    before, sent = stored(stage), 0
    for number in range(_ROUNDS):
        say(f"{_STEADY_RATE} updates/s for {_STEADY_SECONDS} s, round {number + 1} of {_ROUNDS}")
        bare = Sustained()
        send_steadily(_port(bare_url), stage.secret, bare, rate=_STEADY_RATE, seconds=_STEADY_SECONDS)
        with stage.cache() as cache:
            port = stage.launch.port
            ours = send_and_watch(port, stage.secret, cache, rate=_STEADY_RATE, seconds=_STEADY_SECONDS)
        sent += ours.statuses.count(200)
        if set(ours.statuses) != {200}:
            report.faults.append(f"at {_STEADY_RATE}/s: answers {set(ours.statuses)}")
        answers["this tree"].append(p50_p99(ours.latencies))
        answers["bare view"].append(p50_p99(bare.latencies))
        synced = sync_steadily(stage.launch.data_dir, rate=_STEADY_RATE, seconds=_STEADY_SECONDS)
        answers["disk"].append(p50_p99(synced))
        visible.append(p50_p99(ours.until_visible()))
    if sent != (rows := stored(stage) - before):
        report.faults.append(f"{sent} answers 200, but {rows} rows")
    for name, pairs in answers.items():
        report.figures[f"steady_ms {name}"] = figures = _medians(pairs)
        words = "{:.1f} / {:.1f}".format(*figures)
        required = "p99 ≤ 10" if name == "this tree" else ""
        report.add(f"{_STEADY_ROWS[name].format(_STEADY_RATE)}, p50 / p99 ms", words, required)
    report.figures["steady_visible_ms"] = figures = _medians(visible)
    report.add("from 200 to visible in Redis, p50 / p99 ms", "{:.1f} / {:.1f}".format(*figures), "p99 ≤ 100")


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    p50s, p99s = zip(*pairs, strict=True)
    return median(p50s), median(p99s)


def p50_p99(seconds: list[float]) -> tuple[float, float]:
    """Return both in milliseconds."""
    cuts = quantiles(seconds, n=100)
    return cuts[49] * 1000, cuts[98] * 1000
