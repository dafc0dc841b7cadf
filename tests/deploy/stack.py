"""The compose stack of a clone of this repository, on a real Docker engine, operated as the documents say."""

import json
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from config.dev.embedded import free_port
from tests.config.test_environment_table import ROOT
from tests.deploy.proxy import Proxy
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
    for command, reason in (
        ("info", "no Docker engine is running (DOCKER_HOST)"),
        ("compose version", "docker has no compose"),
    ):
        found = subprocess.run(["docker", *command.split()], capture_output=True, text=True, check=False)  # noqa: S603, S607
        if found.returncode:
            return reason
    return None


def missing_image() -> str | None:
    """Return an image of the stack that this engine neither has nor can pull, or None."""
    texts = [(ROOT / name).read_text() for name in ("docker-compose.yml", "Dockerfile")]
    pattern = re.compile(r"(?:image:|^FROM) ([\w./-]+:[\w.-]+)", re.MULTILINE)
    images: set[str] = {image for text in texts for image in pattern.findall(text)}
    for image in sorted(images):
        argv = ["bash", "-c", 'docker image inspect "$0" || docker pull --quiet "$0"', image]
        if subprocess.run(argv, capture_output=True, check=False).returncode:  # noqa: S603
            return image
    return None


# The scripts of the page on deployment that the tests have run.
run_scripts: set[str] = set()


def script(beginning: str) -> str:
    """Return the script of the page on deployment that has a line with this beginning."""
    [found] = [text for text in scripts() if re.search(rf"^{beginning}", text, re.MULTILINE)]
    run_scripts.add(found)
    return found


def scripts() -> list[str]:
    return [block.script for block in blocks(DOCUMENT.read_text())]


@dataclass
class Stack:
    """A project of compose in its own clone; its ports differ from the defaults, so that it disturbs no other one."""

    folder: Path
    name: str = field(default_factory=lambda: f"directory-test-{secrets.token_hex(4)}")
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})

    def __post_init__(self) -> None:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.folder)], check=True)  # noqa: S603, S607
        self.configure()

    def configure(self) -> None:
        """Write .env as the page describes, with these ports; the tests log in with a password alone."""
        self.run(script("cp .env.example"))
        self.set(**{name: str(port) for name, port in self.ports.items()}, ADMIN_MFA_REQUIRED="false")

    def run(self, command: str, *, is_checked: bool = True, **files: Any) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the clone; raise AssertionError with its output if it fails."""
        # The variables of the tests would override those of .env.
        env = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or name[:7] == "DOCKER_"}
        env |= {"COMPOSE_PROJECT_NAME": self.name, "IMAGE_TAG": self.name}
        argv = ["bash", "-euo", "pipefail", "-c", command]
        files = files or {"stdin": subprocess.DEVNULL}
        done = subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, check=False, **files)  # noqa: S603
        assert not is_checked or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def timed(self, command: str) -> float:
        """Run a shell script; return the seconds that it took."""
        began = time.monotonic()
        self.run(command)
        return time.monotonic() - began

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
        secret = {"X-Max-Bot-Api-Secret": self.value("WEBHOOK_SECRET")}
        return self.send(port, "/webhook/max", update(number), **secret)[0]

    def token(self, password: str, port: str = "MAXBOT_HTTP_PORT") -> str:
        """Return an access token of the user admin."""
        token: str = self.send(port, "/api/token", {"username": "admin", "password": password})[1]["access"]
        return token

    def in_service(self, service: str, command: str) -> str:
        return self.run(f"docker compose exec -T {service} sh -c '{command}'").stdout.strip()

    def remove(self) -> None:
        self.run("docker compose down --volumes --remove-orphans --timeout 5", is_checked=False)
        self.run(f"docker rmi max-profile-directory:{self.name}", is_checked=False)


class Load:
    """Send requests through the proxy, at a rate per second, until the block ends: updates, creates and lists.

    ``answers`` counts them by path and status; the status 0 is a connection without an answer.
    """

    def __init__(self, stack: Stack, proxy: Proxy, token: str, rate: int = 50, threads: int = 25) -> None:
        self.proxy, self.rate = proxy, rate
        self.answers, self.slowest = Counter[tuple[str, int]](), 0.0
        self._headers = {"X-Max-Bot-Api-Secret": stack.value("WEBHOOK_SECRET"), "Authorization": f"Bearer {token}"}
        self._headers["Content-Type"] = "application/json"
        self._lock, self._is_over, self._next = threading.Lock(), threading.Event(), 0
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]
        self._began_at = time.monotonic()

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._next += 1
                number = self._next
            if self._is_over.wait(max(0.0, self._began_at + number / self.rate - time.monotonic())):
                return
            path, body = self._request(number)
            began = time.monotonic()
            method = "POST" if body else "GET"
            status = self.proxy.send(method, path, json.dumps(body).encode() if body else b"", self._headers)[0]
            with self._lock:
                self.answers[f"{method} {path}", status] += 1
                self.slowest = max(self.slowest, time.monotonic() - began)

    def _request(self, number: int) -> tuple[str, dict[str, Any] | None]:
        if number % 5 == 3:
            return "/employees", None
        if number % 5 == 4:
            return "/employees", {"phone": f"+7917{number:07}", "first_name": "Анна", "university_name": "СПбГУ"}
        return "/webhook/max", update(number)


def update(number: int) -> dict[str, Any]:
    """Return an update about a new person."""
    user = {"user_id": 7_000_000 + number, "first_name": "Анна", "last_name": "Ким", "is_bot": False}
    timestamp = 1_760_000_000_000 + number
    return {"update_type": "bot_started", "timestamp": timestamp, "chat_id": number, "user": user}


def wait_for(what: str, is_true: Any, seconds: float) -> float:
    """Return the seconds until is_true() is; raise AssertionError after the given seconds."""
    began = time.monotonic()
    while not is_true():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.5)
    return time.monotonic() - began
