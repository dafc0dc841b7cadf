"""``make test-chaos``: run the long scenario and print a summary; exit code 1 when a promise was broken."""

import argparse
import random
import signal
import sys
from collections import Counter
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos.scenario import COPIES, Plan, Result, Scenario
from tests.chaos.system import PARTS, System

_MEANING = {
    "unacknowledged": "deliveries never acknowledged",
    "missing": "acknowledged updates missing in the inbox",
    "stored_late": "acknowledged updates lost, and stored from a later copy",
    "duplicates": "updates stored more than once",
    "unprocessed": "updates unprocessed 60 s after the last fault",
    "wrong_in_postgres": "profiles in PostgreSQL that differ from their newest update",
    "wrong_in_redis": "profiles in Redis that differ from their newest update",
    "employees_lost": "employees acknowledged with 201 and missing",
    "employees_duplicated": "employees with the phone of another one",
    "employees_not_created": "employees never created",
    "unexpected_answers": "answers other than 200, 201, 503, a 409 for what was created, or a broken connection",
    "missed_faults": "faults that found no process to kill",
}


def arguments() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="repeat an earlier run")
    parser.add_argument("--updates", type=int, default=20_000, help="distinct updates, each sent five times")
    parser.add_argument("--faults", type=int, default=5, help="kill -9 for each part")
    parser.add_argument("--seconds", type=float, default=150, help="time over which the updates are sent")
    options = parser.parse_args()
    return Plan(options.seed, options.updates, options.faults, options.seconds)


def run(scenario: Scenario, console: Console) -> Result:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        deliveries = progress.add_task("acknowledged", total=scenario.plan.updates * COPIES)
        faults = progress.add_task("kill -9", total=len(scenario.faults))
        printed = 0

        def show_progress(scenario: Scenario) -> None:
            nonlocal printed
            progress.update(deliveries, completed=scenario.webhook.acknowledged)
            progress.update(faults, completed=len(scenario.done))
            for fault in scenario.done[printed:]:
                progress.console.print(f"{fault.at:6.1f} s  kill -9 {fault.part} (process {fault.pid})")
                printed += 1

        return scenario.run(show_progress)


def summary(scenario: Scenario, result: Result) -> Table:
    def counts_text(counts: Counter[int | str]) -> str:
        return ", ".join(f"{answer}: {count}" for answer, count in counts.most_common())

    table = Table("", "", title=f"seed {scenario.plan.seed}: {'FAILED' if result.violations() else 'passed'}")
    table.add_row("updates, sent five times each", f"{scenario.plan.updates}")
    durability = scenario.system.durability().items()
    table.add_row("PostgreSQL", ", ".join(f"{name} {setting}" for name, setting in durability))
    kills = Counter(fault.part for fault in scenario.done)
    table.add_row("kill -9", ", ".join(f"{part} {kills[part]}" for part in PARTS))
    table.add_row("answers of the webhook", counts_text(scenario.webhook.answers))
    created = len(scenario.employees.created)
    table.add_row(f"{created} employees created, answers", counts_text(scenario.employees.answers), end_section=True)
    for name, meaning in _MEANING.items():
        value = getattr(result, name)
        table.add_row(meaning, f"{value or 0}", style="red" if value else "green")
    table.add_row("recovery, seconds after the last fault", f"{result.recovery_seconds:.1f}")
    return table


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    plan = arguments()
    # SIGINT too: a process that a script starts in the background ignores it by default.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    console = Console()
    console.print(f"seed {plan.seed}; starting the system")
    system = System()
    try:
        system.start()
        scenario = Scenario(system, plan)
        result = run(scenario, console)
        console.print(summary(scenario, result))
        failed = bool(result.violations())
    except KeyboardInterrupt:
        console.print("interrupted")
        failed = True
    finally:
        # A second Ctrl-C must not leave a part of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        left = system.stop()
    if left:
        console.print(f"[red]processes that were still running, now killed: {left}")
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main())
