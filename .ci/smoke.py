"""Check the system as a user would use it: run `make run` in a fresh clone, send an update, and create an employee.

Then stop the system, start and stop it again, and print how long each start and stop took. Fail if processes are left
after a stop, or if the second start takes more than ten seconds.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from config.dev.processes import postgres_processes, processes_of

_INSTALL_AND_START = 600
_SECOND_START = 10
_STOP = 15


def call(url: str, body: dict[str, Any] | None = None, token: str = "") -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, headers), timeout=10) as answer:  # noqa: S310 (our own http)
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, {"refused": error.read().decode(errors="replace")}


def wait_for(what: str, is_true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            sys.exit(f"FAILED: {what} not within {seconds:.0f} s")
        time.sleep(0.2)


def expect(what: str, actual: object, wanted: object) -> None:
    if actual != wanted:
        sys.exit(f"FAILED: {what} is {actual!r}, not {wanted!r}")
    print(f"ok: {what} is {wanted!r}")


@contextmanager
def running(tree: Path, env: dict[str, str], output: Path, timeout: float) -> Iterator[None]:
    """Run `make run` during the block, and stop it with SIGTERM after the block.

    Exit with an error if it does not start or stop in time, or if it leaves processes behind.
    """
    began = time.monotonic()
    with output.open("w") as log:
        make = subprocess.Popen(["make", "run"], cwd=tree, env=env, stdout=log, stderr=log)  # noqa: S607 (make of PATH)
    url = f"http://127.0.0.1:{env['PORT']}"

    def is_ready() -> bool:
        if make.poll() is not None:
            sys.exit(f"FAILED: make run ended:\n{output.read_text()}")
        try:
            return call(f"{url}/health")[0] == 200 and "API token" in output.read_text()
        except (URLError, ConnectionError):
            return False

    try:
        wait_for("GET /health 200", is_ready, timeout)
        print(f"ok: started within {time.monotonic() - began:.1f} s")
        yield
    finally:
        began = time.monotonic()
        make.send_signal(signal.SIGTERM)
        wait_for("the end", lambda: make.poll() is not None, _STOP)
        print(f"ok: stopped within {time.monotonic() - began:.1f} s")
    data_dir = Path(env["DATA_DIR"])
    expect("what is left of make run", [*processes_of(data_dir), *postgres_processes(data_dir / "postgres")], [])


def main_job(tree: Path, env: dict[str, str], token: str) -> None:
    url = f"http://127.0.0.1:{env['PORT']}"

    def send_update(sender: dict[str, str]) -> None:
        update = {"type": "message_new", "message": {"from": sender}}
        expect("POST /webhook/max", call(f"{url}/webhook/max", update), (200, {"status": "ok"}))

    def is_cached(user_id: str) -> bool:
        command = ["make", "--silent", "redis-cli", f"ARGS=GET profile:user:{user_id}"]
        reply = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=True)  # noqa: S603 (ours)
        return reply.stdout.startswith("{") and json.loads(reply.stdout)["user_id"] == user_id

    send_update({"user_id": "test", "first_name": "Test"})
    wait_for("profile:user:test in Redis", lambda: is_cached("test"), 10)
    send_update({"user_id": "test_user", "first_name": "Test", "last_name": "User"})
    wait_for("profile:user:test_user in Redis", lambda: is_cached("test_user"), 10)

    known = {"phone": "+1234567890", "max_id": "test_user", "university_id": 1}
    status, employee = call(f"{url}/employees", known, token)
    answer = (status, *(employee.get(name) for name in ("first_name", "last_name", "profile_source")))
    expect("an employee with a profile", answer, (201, "Test", "User", "webhook"))
    unknown = {"phone": "+79990000001", "max_id": "nobody", "university_id": 1}
    status, employee = call(f"{url}/employees", unknown, token)
    answer = (status, *(employee.get(name) for name in ("first_name", "profile_source")))
    expect("an employee without one", answer, (201, "Неизвестно", "default"))


def token_in(output: Path) -> str:
    match = re.search(r"eyJ[\w.-]+", output.read_text())
    return match.group() if match else ""


def main() -> None:
    tree = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        # Pass on only PATH, so that the result does not depend on the caller's other variables.
        env = {"PATH": os.environ["PATH"], "PORT": str(port), "DATA_DIR": f"{folder}/data", "HOME": folder}
        output = Path(folder, "output")
        with running(tree, env, output, _INSTALL_AND_START):
            main_job(tree, env, token_in(output))
        with running(tree, env, output, _SECOND_START):
            url = f"http://127.0.0.1:{port}/profiles/test_user"
            expect("the profile after a restart", call(url, token=token_in(output))[1].get("display_name"), "Test User")


if __name__ == "__main__":
    main()
