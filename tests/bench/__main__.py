"""``make bench``: run the named benchmarks, by default the receiver and the inbox; exit code 1 when one has faults."""

import argparse
import json
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

from rich.console import Console

from tests.bench import backlog, inbox, receiver, wrk
from tests.bench.report import Report
from tests.bench.stage import staged
from tests.collector import collecting
from tests.upgrade.installation import NoRelease, tree_of

BENCHES = {"receiver": receiver.run, "inbox": inbox.run, "backlog": backlog.run}
_BY_DEFAULT = ["receiver", "inbox"]


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def measure(names: list[str], previous: str, traced_share: str, console: Console) -> dict[str, list[Report]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        collecting() if traced_share else nullcontext() as collector,
        console.status("starting servers") as status,
        staged() as stage,
    ):
        if collector:
            stage.collector, stage.traced_share = collector.url, traced_share
        earlier = tree_of(previous, Path(folder)) if previous else None
        return {name: BENCHES[name](stage, status.update, earlier) for name in names or _BY_DEFAULT}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHES], metavar="|".join(BENCHES))
    parser.add_argument("--previous", default="", help="the earlier release, measured in the same run")
    parser.add_argument(
        "--traces", nargs="?", const="1", default="", metavar="SHARE",
        help="measure the receiver and the inbox worker with traces too, of this share of the requests (all)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    # SIGINT too: a process that a script starts in the background ignores it by default.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    console = Console()
    try:
        wrk.require()
        reports = measure(options.names, options.previous, options.traces, Console(stderr=True))
    except (wrk.Missing, NoRelease) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")
    flat = [report for group in reports.values() for report in group]
    if options.json:
        figures = {name: {report.name: report.figures for report in group} for name, group in reports.items()}
        sys.stdout.write(json.dumps(figures, ensure_ascii=False, indent=2) + "\n")
    else:
        for report in flat:
            console.print(report.table())
    faults = [fault for report in flat for fault in report.faults]
    for fault in faults:
        sys.stderr.write(f"WRONG: {fault}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
