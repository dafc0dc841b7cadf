"""The compose stack of a clone of this repository, on a real Docker engine, operated as the documents say."""

import json
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from config.dev.embedded import free_port
from tests.config.test_environment_table import ROOT
from tests.guide.guide import blocks

DOCUMENT = ROOT / "docs" / "how-to" / "deployment.md"
PORTS = (
    "MAXBOT_HTTP_PORT", "EMPLOYEE_SERVICE_PORT", "MAXBOT_HTTP_PORT_2", "EMPLOYEE_SERVICE_PORT_2", "GRAFANA_PORT",
    "METRICS_PORT",
)  # fmt: skip


def engine() -> str | None:
    """Return why no Docker engine can be used, or None."""
    if not shutil.which("docker"):
        return "docker is not installed"
    found = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)  # noqa: S607
    return None if found.returncode == 0 else "no Docker engine is running"


def script(beginning: str) -> str:
    """Return the script of the page on deployment that has a line with this beginning."""
    [found] = [
        block.script
        for block in blocks(DOCUMENT.read_text())
        if re.search(rf"^{beginning}", block.script, re.MULTILINE)
    ]
    return found


@dataclass
class Stack:
    """A project of compose in its own clone; its ports differ from the defaults, so that it disturbs no other one."""

    folder: Path
    name: str = field(default_factory=lambda: f"directory-test-{secrets.token_hex(4)}")
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})

    def __post_init__(self) -> None:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.folder)], check=True)  # noqa: S603, S607
        self.run(script("cp .env.example"))
        with (self.folder / ".env").open("a") as file:
            file.writelines(f"{name}={port}\n" for name, port in self.ports.items())
        # The tests log in with a password.
        self.set(ADMIN_MFA_REQUIRED="false")

    def run(self, command: str, *, is_checked: bool = True, **files: Any) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the clone; raise AssertionError with its output if it fails."""
        # The variables of the tests would override those of .env.
        env = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or name[:7] == "DOCKER_"}
        env |= {"COMPOSE_PROJECT_NAME": self.name, "IMAGE_TAG": self.name}
        argv = ["bash", "-euo", "pipefail", "-c", command]
        done = subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, check=False, **files)  # noqa: S603
        assert not is_checked or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def set(self, **variables: str) -> None:
        file = self.folder / ".env"
        lines = [line for line in file.read_text().splitlines() if line.partition("=")[0] not in variables]
        file.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in variables.items())]) + "\n")

    def value(self, name: str) -> str:
        values: list[str] = re.findall(rf"^{name}='?(.*?)'?$", (self.folder / ".env").read_text(), re.MULTILINE)
        return values[-1]

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the state of each container of a service by the name of the service."""
        lines = self.run("docker compose ps --all --format json").stdout.splitlines()
        return {item["Service"]: item for item in map(json.loads, lines)}

    def sql(self, statement: str) -> str:
        psql = "docker compose exec -T postgres psql --username directory --tuples-only --no-align directory"
        return self.run(f'{psql} --command "{statement}"').stdout.strip()

    def manage(self, arguments: str, *, is_checked: bool = True) -> str:
        return self.run(f"docker compose exec -T web python manage.py {arguments}", is_checked=is_checked).stdout

    def send(self, port: str, path: str, body: object, **headers: str) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.ports[port]}{path}"
        data = json.dumps(body).encode() if body is not None else None
        request = Request(url, data, {"Content-Type": "application/json", **headers})
        try:
            with urlopen(request, timeout=20) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, error.read()

    def update(self, number: int, port: str = "MAXBOT_HTTP_PORT") -> int:
        """Send an update about a new person; return the status."""
        user = {"user_id": 7_000_000 + number, "first_name": "Анна", "last_name": "Ким", "is_bot": False}
        update = {
            "update_type": "bot_started",
            "timestamp": 1_760_000_000_000 + number,
            "chat_id": number,
            "user": user,
        }
        secret = {"X-Max-Bot-Api-Secret": self.value("WEBHOOK_SECRET")}
        return self.send(port, "/webhook/max", update, **secret)[0]

    def remove(self) -> None:
        self.run("docker compose down --volumes --remove-orphans --timeout 5", is_checked=False)
        self.run(f"docker rmi max-profile-directory:{self.name}", is_checked=False)


class Load:
    """Send updates to both web services as the proxy does, at a rate per second, until the block ends.

    A request goes to the other service if the first refuses or resets the connection, as nginx does for updates.
    """

    def __init__(self, stack: Stack, rate: int = 50, threads: int = 10) -> None:
        self.stack, self.pause, self.answers = stack, threads / rate, dict[int, int]()
        self.lock, self.is_over, self.next = threading.Lock(), threading.Event(), 0
        self.threads = [threading.Thread(target=self._work) for _ in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def _work(self) -> None:
        while not self.is_over.wait(self.pause):
            with self.lock:
                self.next += 1
                number = self.next
            status = self._send(number)
            with self.lock:
                self.answers[status] = self.answers.get(status, 0) + 1

    def _send(self, number: int) -> int:
        ports = ["MAXBOT_HTTP_PORT", "MAXBOT_HTTP_PORT_2"]
        for port in ports if number % 2 else reversed(ports):
            try:
                return self.stack.update(number, port)
            except OSError as error:
                if not isinstance(getattr(error, "reason", error), ConnectionRefusedError | ConnectionResetError):
                    return 0
        return -1


def wait_for(what: str, is_true: Any, seconds: float) -> float:
    """Return the seconds until is_true() is; raise AssertionError after the given seconds."""
    began = time.monotonic()
    while not is_true():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.5)
    return time.monotonic() - began
