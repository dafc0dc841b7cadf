"""Measures a backlog that is drained while updates arrive: how long it takes, and how long new updates wait."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from tests.bench import wrk
from tests.bench.receiver import p50_p99, stored
from tests.bench.report import Report
from tests.bench.stage import Stage
from tests.bench.sustained import Sustained, send_and_watch

_BACKLOG = 300_000
_RATE = 300
_PART_SECONDS = 10.0
_LONGEST = 900.0


def run(stage: Stage, say: Callable[[str], None], _earlier: Path | None = None) -> list[Report]:
    report = Report("backlog", f"A backlog, while {_RATE} updates/s arrive, one inbox worker", ["", "measured"])
    stage.start_web()
    size = 0
    while size < _BACKLOG:
        say(f"storing a backlog: {size} of {_BACKLOG} updates")
        wrk.shoot(stage.launch.url, stage.secret, connections=256, seconds=5)
        size = stored(stage)
    is_drained, parts = Event(), list[Sustained]()
    sender = Thread(target=_send, args=(stage, is_drained, parts))
    stage.start(stage.process("inbox"), lambda: True)
    started = time.monotonic()
    sender.start()
    try:
        seconds = _drain(stage, started, say)
    finally:
        is_drained.set()
        sender.join()
    latencies = [latency for part in parts for latency in part.latencies]
    waits = [wait for part in parts for wait in part.until_visible()]
    if statuses := {status for part in parts for status in part.statuses} - {200}:
        report.faults.append(f"answers {statuses}")
    if lost := waits.count(float("inf")):
        report.faults.append(f"{lost} of {len(waits)} updates that arrived did not become visible")
    answer, visible = p50_p99(latencies), p50_p99(waits)
    report.figures |= {"backlog": size, "seconds": seconds, "answer_ms": answer, "visible_ms": visible}
    report.add(f"{size} updates drained, seconds", f"{seconds:.0f}")
    report.add("of the backlog and those that arrived, updates/s", f"{size / seconds + _RATE:.0f}")
    report.add("answer meanwhile, p50 / p99 ms", "{:.1f} / {:.1f}".format(*answer))
    report.add("from 200 to visible in Redis meanwhile, p50 / p99 ms", "{:.1f} / {:.1f}".format(*visible))
    return [report]


def _send(stage: Stage, is_drained: Event, parts: list[Sustained]) -> None:
    with stage.cache() as cache:
        while not is_drained.is_set():
            parts.append(send_and_watch(stage.launch.port, stage.secret, cache, rate=_RATE, seconds=_PART_SECONDS))


def _drain(stage: Stage, started: float, say: Callable[[str], None]) -> float:
    """Wait until no update has been pending for longer than a second; return the seconds since the start."""
    with stage.database() as database:
        while True:
            row = database.execute(
                "SELECT count(*), count(*) FILTER (WHERE received_at < now() - interval '1 second')"
                " FROM webhook_inbox WHERE state = 'pending'"
            ).fetchone()
            pending, old = row or (0, 0)
            seconds = time.monotonic() - started
            if not old:
                return seconds
            if seconds > _LONGEST:
                raise RuntimeError(f"{pending} updates are still pending after {seconds:.0f} s")
            say(f"draining, {pending} updates are pending after {seconds:.0f} s")
            time.sleep(1)
