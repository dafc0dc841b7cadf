"""Runs wrk, the HTTP load generator."""

import json
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("updates.lua")


class Missing(RuntimeError):
    """wrk is not installed."""


@dataclass(frozen=True)
class Shot:
    """One run of wrk. ``refused`` counts statuses over 399, ``broken`` requests without an answer."""

    requests: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float

    @property
    def accepted(self) -> int:
        return self.requests - self.refused

    @property
    def rate(self) -> float:
        return self.accepted / self.seconds


def require() -> None:
    if not shutil.which("wrk"):
        raise Missing("wrk is missing: install it (Debian, Ubuntu: apt install wrk)")


def shoot(url: str, secret: str, *, connections: int, seconds: float) -> Shot:
    """Send distinct updates over so many connections, as fast as they are answered."""
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s"]
    command += ["--timeout", "10s", "--script", str(_SCRIPT), "--", url, secret, secrets.token_hex(4)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (our own script)
    return Shot(**json.loads(done.stdout.splitlines()[-1]))
