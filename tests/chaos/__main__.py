"""``make test-chaos``: run the long scenario and print a summary; exit code 1 when a promise was broken."""

import argparse
import os
import random
import signal
import sys
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos.checks import Findings
from tests.chaos.fake_direct_api import direct_api
from tests.chaos.responses import BOUNDS, examples
from tests.chaos.scenario import COPIES, Fault, Plan, Recovery, Scenario
from tests.chaos.system import System

_DISK_MB = 1536


def arguments() -> Plan:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, epilog="A full disk needs root."
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="repeat an earlier run")
    parser.add_argument("--seconds", type=float, default=150, help="how long faults and requests begin")
    parser.add_argument("--updates", type=int, default=25, help="distinct updates a second, each sent four times")
    parser.add_argument("--only", nargs="*", default=[], help="only the faults whose names begin so, such as “kill -9”")
    options = parser.parse_args()
    return Plan(options.seed, options.seconds, options.updates, options.only)


def run(scenario: Scenario, console: Console) -> Findings:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        webhook, employees = scenario.loads.webhook, scenario.loads.employees
        deliveries = progress.add_task("updates acknowledged", total=len(webhook.deliveries))
        created = progress.add_task("employees created", total=len(employees.requests))
        printed = 0

        def show_progress(scenario: Scenario) -> None:
            nonlocal printed
            progress.update(deliveries, completed=webhook.acknowledged)
            progress.update(created, completed=len(employees.acknowledged))
            for fault in scenario.faults[printed:]:
                progress.console.print(f"{fault.at:6.1f} s  {title_of(fault)}: well after {seconds_of(fault.recovery)}")
                for text in fault.broken:
                    progress.console.print(f"          {text}", style="red", markup=False)
                printed += 1
                progress.console.file.flush()

        return scenario.run(show_progress)


def title_of(fault: Fault) -> str:
    return f"{fault.name}, kill -9 {fault.killed}" if fault.killed else fault.name


def seconds_of(recovery: Recovery | None) -> str:
    """Return the seconds until the stores, requests and updates, and the check of alerts worked."""
    if recovery is None:
        return ""
    if recovery.waited_for:
        return f"[red]never: {recovery.waited_for}[/]"
    return f"{recovery.stores:.1f} + {recovery.service:.1f}, {recovery.check:.1f} s"


def fault_table(faults: list[Fault]) -> Table:
    columns = ["fault", "times", "stores + service, alerts well (longest)", "while it lasts", "answers wrong or late"]
    table = Table(*columns, "/ready meanwhile", "alerts meanwhile", title="Faults")
    for name in sorted({fault.name for fault in faults}):
        same = [fault for fault in faults if fault.name == name]
        longest = max(same, key=lambda fault: float("inf") if fault.late() else fault.recovery.service or 0.0)
        ready = set[str]().union(*(fault.ready for fault in same))
        alerts = set[str]().union(*(fault.alerts for fault in same))
        broken = sum(len(fault.broken) for fault in same)
        seconds = seconds_of(longest.recovery), seconds_of(longest.meanwhile)
        row = name, str(len(same)), *seconds, str(broken), "\n".join(sorted(ready)), "\n".join(sorted(alerts))
        table.add_row(*row, style="red" if broken or longest.late() else None)
    return table


def summary(scenario: Scenario, findings: Findings) -> Table:
    verdict = ("FAILED" if findings.wrong() else "passed") if findings.found else "interrupted, not checked"
    table = Table("", "", title=f"seed {scenario.plan.seed}: {verdict}")
    table.add_row("updates, sent times", f"{len(scenario.loads.updates.bodies)} × {COPIES}")
    durability = scenario.system.durability().items()
    table.add_row("PostgreSQL", ", ".join(f"{name} {setting}" for name, setting in durability))
    # Of the last five minutes: with more than one for each processor, late answers may be the machine's.
    table.add_row("load of the machine", f"{os.getloadavg()[1]:.1f} on {os.cpu_count()} processors")
    table.add_row("people erased", str(len(scenario.loads.erasures.done)))
    table.add_row("changes of the rollout", str(len(scenario.loads.rollout.acknowledged)))
    for kind, counts in scenario.answers.counts.items():
        answers = ", ".join(f"{answer}: {count}" for answer, count in counts.most_common())
        table.add_row(f"{kind}, longest {scenario.answers.longest[kind]:.2f} s of {BOUNDS[kind]:.1f} s", answers)
    table.add_section()
    for meaning, texts in findings.found.items():
        lines = f"{len(texts)}\n{examples(texts)}" if texts else "0"
        table.add_row(meaning, lines, style="red" if texts else "green")
    return table


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    plan = arguments()
    # SIGINT too: a process that a script starts in the background ignores it by default.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    console = Console(width=180)
    console.print(f"seed {plan.seed}; starting the system")
    with direct_api() as api:
        system = System(disk_mb=_DISK_MB, sets_clocks=True, MONITORING_CHECK_INTERVAL="2s", **api.settings())
        scenario = None
        try:
            system.start()
            scenario = Scenario(system, api, plan)
            findings = run(scenario, console)
            console.print(fault_table(scenario.faults))
            console.print(summary(scenario, findings))
            failed = bool(findings.wrong())
        except KeyboardInterrupt:
            console.print("interrupted; what was found until then:")
            if scenario is not None:
                console.print(fault_table(scenario.faults))
                console.print(summary(scenario, scenario.findings))
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
