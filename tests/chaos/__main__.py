"""``make test-chaos``: the long ordeal, with its progress and a summary; exit code 1 when anything was wrong."""

import argparse
import random
import signal
import sys
from collections import Counter
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos.ordeal import COPIES, Ordeal, Plan, Verdict
from tests.chaos.system import PARTS, System

_MEANING = {
    "unacknowledged": "deliveries not acknowledged in the end",
    "missing": "acknowledged updates missing in the inbox",
    "stored_anew": "acknowledged updates lost, and stored by a later copy",
    "doubles": "updates stored more than once",
    "unprocessed": "updates unprocessed 60 s after the last fault",
    "behind_in_postgres": "profiles in PostgreSQL other than their newest update",
    "behind_in_redis": "profiles in Redis other than their newest update",
    "employees_lost": "employees acknowledged by 201 and missing",
    "employees_doubled": "employees with a phone that another one has",
    "employees_not_created": "employees not created in the end",
    "strange_answers": "answers other than 200, 201, 503, a 409 for what was created, or a broken connection",
    "missed_faults": "faults that found nothing to kill",
}


def arguments() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="repeat an earlier run")
    parser.add_argument("--updates", type=int, default=20_000, help="distinct updates, each sent five times")
    parser.add_argument("--faults", type=int, default=5, help="kill -9 for each part")
    parser.add_argument("--seconds", type=float, default=150, help="time over which the updates are sent")
    given = parser.parse_args()
    return Plan(given.seed, given.updates, given.faults, given.seconds)


def endure(system: System, plan: Plan, console: Console) -> tuple[Ordeal, Verdict]:
    ordeal = Ordeal(system, plan)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        deliveries = progress.add_task("acknowledged", total=plan.updates * COPIES)
        faults = progress.add_task("kill -9", total=len(ordeal.faults))
        reported = 0

        def watch(ordeal: Ordeal) -> None:
            nonlocal reported
            progress.update(deliveries, completed=ordeal.load.acknowledged)
            progress.update(faults, completed=len(ordeal.struck))
            for fault in ordeal.struck[reported:]:
                progress.console.print(f"{fault.at:6.1f} s  kill -9 {fault.part} (process {fault.pid})")
                reported += 1

        return ordeal, ordeal.run(watch)


def summary(ordeal: Ordeal, verdict: Verdict) -> Table:
    table = Table("", "", title=f"seed {ordeal.plan.seed}: {'passed' if not verdict.complaints() else 'FAILED'}")
    killed = Counter(fault.part for fault in ordeal.struck)
    table.add_row("updates, sent five times each", f"{ordeal.plan.updates}")
    durability = ordeal.system.durability().items()
    table.add_row("PostgreSQL", ", ".join(f"{name} {setting}" for name, setting in durability))
    table.add_row("kill -9", ", ".join(f"{part} {killed[part]}" for part in PARTS))
    answers = (f"{answer}: {count}" for answer, count in ordeal.load.answers.most_common())
    table.add_row("answers", ", ".join(answers))
    answers = (f"{answer}: {count}" for answer, count in ordeal.hiring.answers.most_common())
    table.add_row(f"{len(ordeal.hiring.created)} employees created, answers", ", ".join(answers), end_section=True)
    for name, value in vars(verdict).items():
        if name in _MEANING:
            table.add_row(_MEANING[name], f"{value or 0}", style="red" if value else "green")
    table.add_row("all was in order, seconds after the last fault", f"{verdict.settled_after:.1f}")
    return table


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    plan = arguments()
    # SIGINT too: it is ignored in what a script starts in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    console = Console()
    console.print(f"seed {plan.seed}; starting a system of our own")
    system = System()
    try:
        system.start()
        ordeal, verdict = endure(system, plan, console)
        console.print(summary(ordeal, verdict))
        failed = bool(verdict.complaints())
    except KeyboardInterrupt:
        console.print("interrupted")
        failed = True
    finally:
        # A second Ctrl-C must not leave a part of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        left = system.stop()
    if left:
        console.print(f"[red]processes left behind, killed now: {left}")
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main())
