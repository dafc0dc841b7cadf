"""Measures ``POST /webhook/max`` against a bare Django view under the same server, then processing and visibility."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from statistics import median, quantiles

from config.dev.processes import Child, stop
from tests.bench import wrk
from tests.bench.report import Report
from tests.bench.stage import Stage, cpu_seconds
from tests.bench.sustained import send_steadily

Say = Callable[[str], None]
# A URL and the process behind it.
Target = tuple[str, Child]

_CONNECTIONS = (1, 16, 64)
_ROUNDS = 5
_SECONDS = 2
_WARM_UP_SECONDS = 1
_QUIET_SECONDS = 0.1
_BACKLOG = 20_000
_STEADY_RATE = 300
_STEADY_SECONDS = 15
# The required share of the bare view's throughput, by connections.
_LEAST_RATIO = {16: 0.5, 64: 0.65}


@dataclass
class Round:
    bare: wrk.Shot
    ours: wrk.Shot
    cpu_us: float
    bare_cpu_us: float


def run(stage: Stage, say: Say) -> list[Report]:
    return [_throughput(stage, say), _processing(stage, say)]


# Throughput


def _throughput(stage: Stage, say: Say) -> Report:
    bare, ours = stage.start_bare(), stage.start_web()
    report = Report(
        "throughput",
        "POST /webhook/max against an empty view, MIDDLEWARE = []: medians of pairs",
        ["conns", "bare/s", "ours/s", "ratio", "required", "p50 ms", "p99 ms", "CPU µs", "bare"],
        notes=[f"granian {stage.web_flags()}", "fsync and synchronous_commit on, wrk with one thread beside it"],
    )
    for url, _ in (bare, ours):
        wrk.shoot(url, stage.secret, connections=16, seconds=_WARM_UP_SECONDS)
    rounds: dict[int, list[Round]] = {connections: [] for connections in _CONNECTIONS}
    for number, connections in product(range(_ROUNDS), _CONNECTIONS):
        say(f"throughput, round {number + 1} of {_ROUNDS}, {connections} connections")
        rounds[connections].append(_pair(stage, bare, ours, connections, report, number))
    for connections, done in rounds.items():
        _add_level(report, connections, done)
    stop([bare[1]], seconds=5)
    return report


def _pair(stage: Stage, bare: Target, ours: Target, connections: int, report: Report, number: int) -> Round:
    """Load both, in alternating order; compare the 200s of ours with the rows that it stored."""
    stored_before = _stored(stage)
    shots: dict[str, tuple[wrk.Shot, float]] = {}
    for url, process in (ours, bare) if number % 2 else (bare, ours):
        cpu_before = cpu_seconds(process)
        shot = wrk.shoot(url, stage.secret, connections=connections, seconds=_SECONDS)
        shots[url] = shot, (cpu_seconds(process) - cpu_before) / max(shot.accepted, 1) * 1e6
    (bare_shot, bare_cpu_us), (our_shot, cpu_us) = shots[bare[0]], shots[ours[0]]
    stored = _stored(stage) - stored_before
    # wrk ends without waiting for the requests under way, one for each connection.
    if not our_shot.accepted <= stored <= our_shot.accepted + connections:
        report.faults.append(f"{our_shot.accepted} answers 200, but {stored} rows, at {connections} connections")
    if our_shot.refused or our_shot.broken:
        report.faults.append(f"{our_shot.refused} refused and {our_shot.broken} broken at {connections} connections")
    return Round(bare_shot, our_shot, cpu_us, bare_cpu_us)


def _add_level(report: Report, connections: int, rounds: list[Round]) -> None:
    figures = {
        "bare_per_s": median(pair.bare.rate for pair in rounds),
        "ours_per_s": median(pair.ours.rate for pair in rounds),
        "ratio": median(pair.ours.rate / pair.bare.rate for pair in rounds),
        "p50_ms": median(pair.ours.p50_ms for pair in rounds),
        "p99_ms": median(pair.ours.p99_ms for pair in rounds),
        "cpu_us": median(pair.cpu_us for pair in rounds),
        "bare_cpu_us": median(pair.bare_cpu_us for pair in rounds),
    }
    report.figures[f"{connections}"] = figures
    least = _LEAST_RATIO.get(connections)
    report.add(
        connections,
        f"{figures['bare_per_s']:.0f}",
        f"{figures['ours_per_s']:.0f}",
        f"{figures['ratio']:.2f}",
        f"≥ {least}" if least else "p50 < 1",
        f"{figures['p50_ms']:.2f}",
        f"{figures['p99_ms']:.2f}",
        f"{figures['cpu_us']:.0f}",
        f"{figures['bare_cpu_us']:.0f}",
    )


def _stored(stage: Stage) -> int:
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


def _processing(stage: Stage, say: Say) -> Report:
    report = Report("processing", "Processing, one inbox worker", ["", "measured", "required"])
    inbox = stage.process("inbox")
    _drain(stage, inbox, report, say)
    _steady(stage, report, say)
    stop([inbox], seconds=5)
    return report


def _drain(stage: Stage, inbox: Child, report: Report, say: Say) -> None:
    say("storing a backlog")
    with stage.database() as database:
        database.execute("TRUNCATE webhook_inbox")
    while (backlog := _stored(stage)) < _BACKLOG:
        wrk.shoot(stage.launch.url, stage.secret, connections=64, seconds=_SECONDS)
    say(f"draining {backlog} updates")
    stage.start(inbox, lambda: True)
    with stage.database() as database:
        while _number(database.execute("SELECT count(*) FROM webhook_inbox WHERE state = 'pending'").fetchone()):
            time.sleep(0.2)
        row = database.execute(_DRAIN_RATE).fetchone()
    rate = float(_number(row))
    report.figures |= {"backlog": backlog, "drain_per_s": rate}
    report.add(f"backlog of {backlog} drained, updates/s", f"{rate:.0f}", "≥ 5000")


def _steady(stage: Stage, report: Report, say: Say) -> None:
    say(f"{_STEADY_RATE} updates/s for {_STEADY_SECONDS} s")
    before = _stored(stage)
    with stage.cache() as cache:
        steady = send_steadily(stage.launch.port, stage.secret, cache, rate=_STEADY_RATE, seconds=_STEADY_SECONDS)
    stored = _stored(stage) - before
    if steady.statuses.count(200) != stored or stored != steady.sent:
        report.faults.append(f"{steady.sent} sent, {steady.statuses.count(200)} answers 200, but {stored} rows")
    answer, visible = _p50_p99(steady.latencies), _p50_p99(steady.until_visible())
    report.figures |= {"steady_answer_ms": answer, "steady_visible_ms": visible}
    report.add(f"answer at {_STEADY_RATE}/s, p50 / p99 ms", "{:.1f} / {:.1f}".format(*answer), "p99 < 50")
    report.add("from 200 to visible in Redis, p50 / p99 ms", "{:.1f} / {:.1f}".format(*visible), "p99 < 1000")


def _p50_p99(seconds: list[float]) -> tuple[float, float]:
    cuts = quantiles(seconds, n=100)
    return cuts[49] * 1000, cuts[98] * 1000
