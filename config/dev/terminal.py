"""The output of `make run`, and checks whether its terminal has been closed."""

import os
import re
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from config.dev.launch import Launch

_READY = """
Ready.

  application     {url}
  admin           {url}/admin/
  API             {url}/swagger/
  health          {url}/health
  metrics         {url}/metrics
  login           {login}
  rollout         {rollout}
  logs            {data_dir}/logs
  services        {data_dir}/services.env
  stop            Ctrl-C
"""
_OWN_KEY = """
  API token       none, because SECRET_KEY is set: POST /api/token with the login
"""
_DEVELOPMENT = """
  API token (30 days)
  {token}

Try it: {outcome}

curl -sS {url}/webhook/max{secret} -H 'Content-Type: application/json' -d '{update}'
sleep 1
curl -sS {url}/employees -H 'Content-Type: application/json' -H 'Authorization: Bearer {token}' -d '{employee}'
"""
_CACHE_FIRST = 3
# The guide's example.
EXAMPLE_PHONE = "+1234567890"
_UPDATE = '{"type":"message_new","message":{"from":{"user_id":"test_user","first_name":"Test","last_name":"User"}}}'
_EMPLOYEE = f'{{"phone":"{EXAMPLE_PHONE}","max_id":"test_user","university_id":1}}'


def say(line: str) -> None:
    # Failing to print, in a closed terminal or after the end of `make run | head`, must not interrupt a start or stop.
    with suppress(OSError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def show_ready(launch: Launch, prepared: dict[str, Any]) -> None:
    rollout = prepared["rollout"]
    phases = ", ".join(f"phase {number} at {percent:g}%" for number, percent in enumerate(rollout["percents"], start=1))
    say(_READY.format(url=launch.url, login=_login(launch, prepared), rollout=phases, data_dir=launch.data_dir))
    if token := prepared.get("token"):
        secrets = launch.environment.get("WEBHOOK_SECRET", "").split(",")
        secret = next((secret.strip() for secret in secrets if secret.strip()), "")
        option = f" -H {shlex.quote(f'X-Max-Bot-Api-Secret: {secret}')}" if secret else ""
        texts = {"outcome": _outcome(rollout, launch.url), "update": _UPDATE, "employee": _EMPLOYEE}
        say(_DEVELOPMENT.format(url=launch.url, token=token, secret=option, **texts))
    elif launch.is_development:
        say(_OWN_KEY)


def _outcome(rollout: dict[str, Any], url: str) -> str:
    """Return what the two example requests that `make run` prints will do in the current state of the rollout."""
    if not rollout["is_collecting"]:
        first = "MAX sends a profile, which is not collected"
    elif rollout["stage"] >= _CACHE_FIRST:
        return "MAX sends a profile, and a new employee gets its name."
    else:
        first = "MAX sends a profile, which is stored"
    return f"{first}, and a new employee does not get its name\nfrom there ({rollout['reason']}): {url}/admin/rollout/"


def _login(launch: Launch, prepared: dict[str, Any]) -> str:
    if "is_new" not in prepared:
        return "create one by manage.py createsuperuser, or set DJANGO_SUPERUSER_PASSWORD"
    if "DJANGO_SUPERUSER_PASSWORD" in launch.environment:
        password = "the password in DJANGO_SUPERUSER_PASSWORD" if prepared["is_new"] else "its earlier password"
    else:
        password = "admin" if prepared["is_new"] else "admin (unless changed since)"
    return f"{prepared['username']} / {password}"


class Terminal:
    """The terminal of `make run`: distinguishes the SIGHUP of a closed terminal from the SIGHUP sent by `make deploy`.

    Under nohup, the system counts as running without a terminal.
    """

    def __init__(self) -> None:
        self.has_one = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _foreground_group() is not None
        self.is_in_foreground = self.has_one and _foreground_group() == os.getpgrp()
        self.has_make = "MAKELEVEL" in os.environ and _parent_handles_interrupt()

    def is_gone(self) -> bool:
        return self.has_one and _foreground_group() is None

    def is_stop_wanted(self) -> bool:
        """Return whether the terminal was closed, or make received a stop signal, which make does not forward."""
        return (self.is_in_foreground and self.is_gone()) or (self.has_make and not _parent_handles_interrupt())


def _parent_handles_interrupt() -> bool:
    """Return whether the parent process, make, still handles SIGINT; after its first stop signal, it no longer does."""
    try:
        status = Path(f"/proc/{os.getppid()}/status").read_text()
    except OSError:
        return False
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGINT - 1) & 1)


def _foreground_group() -> int | None:
    """Return the terminal's foreground process group; None if there is no terminal."""
    try:
        with Path("/dev/tty").open("rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno())
    except OSError:
        return None
