"""`make demo`: the whole system with two weeks of history, a simulated MAX beside it, and live traffic."""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from config.dev import supervisor
from config.dev.demo.messenger import INCIDENT_AFTER, PUBLIC_URL, SCENES, TOKEN
from config.dev.demo.people import EMPLOYEES
from config.dev.embedded import free_port
from config.dev.launch import Launch
from config.dev.processes import BASE_DIR, Child, StartError, end_processes, processes_of
from config.dev.supervisor import Supervisor
from config.dev.terminal import say

SECRET = "demo-webhook-secret"  # noqa: S105 (the demo's own)
# If the history ended longer ago, the gap before the live traffic would be too wide.
KEPT_FOR = timedelta(hours=12)
_MARKER = "demo.json"
_KEPT = {_MARKER, "supervisor.lock", "logs"}
_OWN = {"HOST", "PORT", "DATA_DIR", "WEB_WORKERS", "DEBUG"}
# Rollout steps may follow each other within minutes, and the gates are checked often, so that one can watch both.
_SETTINGS = {
    "DEBUG": "true",
    "ENV_FILE": os.devnull,
    "WEBHOOK_SECRET": SECRET,
    "WEBHOOK_PUBLIC_URL": PUBLIC_URL,
    "MAX_BOT_TOKEN": TOKEN,
    "PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE": "0",
    "MONITORING_CHECK_INTERVAL": "20s",
    "ROLLOUT_DWELL": "10m",
}
_READY = """
Ready: two weeks of history, phase 3 at 25%, and live traffic.

  log in at       {url}/admin/
{log_ins}
  worth a look    {url}/admin/                                    home: phases, names, alerts
                  {url}/admin/rollout/                            the gates of the next step
                  {url}/admin/comparisons/                        names from both sources
                  {url}/admin/webhooks/inboxupdate/dead-letters/  one group to review and replay
                  {url}/admin/monitoring/alert/                   one open alert

  simulated MAX   {messenger}/  (direct API: healthy, slow, failing, disagreeing)
                  curl -X POST {messenger}/switch/direct_api/slow
  scene           {scene}
  data            {data_dir} ({data})
  stop            Ctrl-C
"""
_SCENES = {
    "calm": "calm; for an incident: make demo SCENE=incident",
    "incident": f"incident: in {INCIDENT_AFTER:.0f} s about half of the updates get wrong last names. Watch the rollout"
    "\n                  page: it is held after three checks. docs/tutorial/demo.md has the way back",
}


@dataclass(frozen=True)
class Options:
    scene: str
    is_fresh: bool


def options() -> Options:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="create the data again")
    is_fresh, scene = parser.parse_args().fresh, os.environ.get("SCENE") or "calm"
    if scene not in SCENES:
        raise StartError(f"There is no scene {scene!r}: choose SCENE={' or SCENE='.join(SCENES)}")
    return Options(scene, is_fresh)


def isolate_environment() -> None:
    """Replace the system's environment variables with the demo's, so that settings of another system do not apply.

    Raise StartError in production.
    """
    if not Launch.from_environment().is_development:
        raise StartError("make demo is for development, and DEBUG is off here: it creates people who do not exist")
    known = set(re.findall(r"^#? ?([A-Z_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE))
    for name in known - _OWN:
        os.environ.pop(name, None)
    data_dir = os.environ.get("DATA_DIR") or str(BASE_DIR / ".data" / "demo")
    os.environ.update(_SETTINGS, DATA_DIR=data_dir)


def claim_data_dir(data_dir: Path) -> None:
    """Mark a new or empty DATA_DIR as the demo's; raise StartError if it contains data of another system."""
    marker = data_dir / _MARKER
    if marker.exists():
        return
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise StartError(
            f"{data_dir} was not made by `make demo`, which never touches it: set DATA_DIR to another folder"
        )
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    marker.write_text("{}")


class DemoSupervisor(Supervisor):
    command = "make demo"
    prepare_module = "config.dev.demo.prepare"
    options: Options

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self.messenger_port = free_port()
        os.environ["MAX_API_URL"] = self.messenger_url

    @property
    def messenger_url(self) -> str:
        return f"http://{self.launch.reachable_host}:{self.messenger_port}"

    def start(self) -> dict[str, Any]:
        end_processes(partial(processes_of, self.launch.data_dir), seconds=4)
        marker = self.launch.data_dir / _MARKER
        made_at = json.loads(marker.read_text()).get("made_at")
        age = datetime.now(UTC) - datetime.fromisoformat(made_at) if made_at else None
        self.data = f"made {made_at}; start with ARGS=--fresh to create it again"
        if age is None or age > KEPT_FOR or self.options.is_fresh:
            self.data = "new; the next start continues with it, for twelve hours"
            self._clear()
            made_at = None
        prepared = super().start()
        marker.write_text(json.dumps({"made_at": made_at or datetime.now(UTC).isoformat(timespec="seconds")}))
        return prepared

    def _clear(self) -> None:
        (self.launch.data_dir / _MARKER).write_text("{}")
        for path in self.launch.data_dir.iterdir():
            if path.name not in _KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def processes(self, env: Mapping[str, str], prepared: dict[str, Any]) -> list[Child]:
        options = {
            "host": self.launch.host,
            "port": self.messenger_port,
            "url": self.launch.url,
            "secret": SECRET,
            "key": prepared["key"],
            "universities": prepared["universities"],
            "employees": EMPLOYEES,
            "scene": self.options.scene,
            "state": str(self.launch.data_dir / "hired"),
        }
        argv = [sys.executable, "-m", "config.dev.demo.messenger"]
        messenger = Child("max", argv, {**env, "DEMO_MESSENGER": json.dumps(options)}, self.launch.log("max"))
        return [*super().processes(env, prepared), messenger]

    def show_ready(self, prepared: dict[str, Any]) -> None:
        log_ins = [f"  {name:<10}/ {password:<15} {what}" for name, (password, what) in prepared["log_ins"].items()]
        say(
            _READY.format(
                url=self.launch.url,
                log_ins="\n".join(f"                {line}" for line in log_ins),
                messenger=self.messenger_url,
                scene=_SCENES[self.options.scene],
                data_dir=self.launch.data_dir,
                data=self.data,
            )
        )


def main() -> int:
    try:
        DemoSupervisor.options = options()
        isolate_environment()
        claim_data_dir(Launch.from_environment().data_dir)
    except StartError as error:
        say(str(error))
        return 1
    return supervisor.main(DemoSupervisor)


if __name__ == "__main__":
    sys.exit(main())
