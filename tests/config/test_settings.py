"""The settings of a process: what production needs, and what no process starts with."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.dev.embedded import free_port
from config.dev.processes import BASE_DIR
from config.env import GUIDE_SECRET

Environment = dict[str, str | None]

GOOD: Environment = {
    "SECRET_KEY": secrets.token_urlsafe(64),
    "WEBHOOK_SECRET": secrets.token_urlsafe(24),
    "ALLOWED_HOSTS": "directory.example.ru",
}
# Without a value the variable is missing.
UNSAFE = [
    ("SECRET_KEY", None),
    ("SECRET_KEY", ""),
    ("SECRET_KEY", " " * 60),
    ("SECRET_KEY", "a" * 60),
    ("SECRET_KEY", "a-key-of-forty-nine-characters-which-is-one-short"),
    ("SECRET_KEY", f"django-insecure-{'x' * 50}"),
    ("WEBHOOK_SECRET", None),
    ("WEBHOOK_SECRET", " , "),
    ("WEBHOOK_SECRET", "fifteen-letters"),
    ("WEBHOOK_SECRET", "not a secret of the messenger's alphabet"),
    ("WEBHOOK_SECRET", GUIDE_SECRET),
    ("ALLOWED_HOSTS", None),
    ("ALLOWED_HOSTS", "*"),
    ("MAX_API_URL", "http://platform-api2.max.ru"),
    ("OIDC_ISSUER", "http://sso.example.ru"),
]
PROVIDER: Environment = {"OIDC_ISSUER": "https://sso.example.ru"}
INVALID = [
    ("OIDC_ISSUER", "sso.example.ru", "the URL of an OpenID Connect provider"),
    ("ADMIN_MFA_REQUIRED", "perhaps", "true or false"),
    ("PROFILE_TTL", "abc", "a duration"),
    ("REDIS_URL", "foo", "a Redis URL"),
    ("REDIS_ADDR", "host:port", "the address of a Redis"),
    ("CELERY_BROKER_URL", "foo", "a Redis URL"),
]
# One worker of `pytest -n` reads them.
pytestmark = pytest.mark.xdist_group("settings")
# A process imports the settings once for each environment on stdin: a process for each would import for seconds.
_READ = """
import json, os, sys
from django.core.exceptions import ImproperlyConfigured
outside, outcomes = dict(os.environ), []
for environment in json.load(sys.stdin):
    os.environ.clear()
    os.environ.update(outside | environment)
    try:
        from config import settings
    except ImproperlyConfigured as error:
        outcomes.append(str(error))
    else:
        values = {name: value for name, value in vars(settings).items() if isinstance(value, str | int)}
        outcomes.append(values | {"database": settings.DATABASES["default"]["NAME"]})
        del sys.modules["config"].settings
    sys.modules.pop("config.settings", None)
print(json.dumps(outcomes))
"""


def outcomes_of(environments: list[Environment]) -> list[Any]:
    """Return the settings that each environment gives, or the error by which they refuse it."""
    given = [{name: text for name, text in environment.items() if text is not None} for environment in environments]
    outside = {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "DATA_DIR": os.devnull}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _READ],
        cwd=BASE_DIR, env=outside, input=json.dumps(given), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    outcomes: list[Any] = json.loads(done.stdout)
    return outcomes


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[object, Any]:
    folder = tmp_path_factory.mktemp("copy")
    (folder / "env").write_text("DATABASE_URL=\nREDIS_URL=\nDEBUG=true\n")
    (folder / "services.env").write_text("DATABASE_URL=postgresql:///here\nREDIS_URL=redis://there/1\n")
    cases: dict[object, Environment] = {
        "good": GOOD,
        "copy": {"ENV_FILE": str(folder / "env"), "DATA_DIR": str(folder)},
        "a provider alone": GOOD | PROVIDER,
        "a provider": GOOD | PROVIDER | {"OIDC_CLIENT_ID": "directory", "OIDC_CLIENT_SECRET": "s"},
        **{case: GOOD | {case[0]: case[1]} for case in UNSAFE},
        **{case: {"DEBUG": "true", case[0]: case[1]} for case in INVALID},
    }
    return dict(zip(cases, outcomes_of(list(cases.values())), strict=True))


def test_it_works(outcomes: dict[object, Any]) -> None:
    """What production needs is enough; its cookies stay on https."""
    settings = outcomes["good"]
    assert (settings["SESSION_COOKIE_SECURE"], settings["CSRF_COOKIE_SECURE"]) == (True, True)
    assert (settings["SESSION_COOKIE_SAMESITE"], settings["SECURE_HSTS_SECONDS"]) == ("Lax", 31536000)
    assert "SECURE_PROXY_SSL_HEADER" not in settings, "it is None"


def test_an_empty_url_in_the_env_file_leaves_it_to_services_env(outcomes: dict[object, Any]) -> None:
    """As in a copy of .env.example, beside a running `make run`."""
    settings = outcomes["copy"]
    assert (settings["database"], settings["REDIS_URL"]) == ("here", "redis://there/1")


def test_production_requires_a_second_factor(outcomes: dict[object, Any]) -> None:
    assert (outcomes["good"]["ADMIN_MFA_REQUIRED"], outcomes["copy"]["ADMIN_MFA_REQUIRED"]) == (True, False)


def test_a_provider_needs_a_client(outcomes: dict[object, Any]) -> None:
    assert outcomes["a provider alone"] == "OIDC_CLIENT_ID must be set if OIDC_ISSUER is set"
    assert outcomes["a provider"]["OIDC_ISSUER"] == "https://sso.example.ru"


def check_refusal(text: str, variable: str, value: str | None) -> None:
    assert variable in text
    if value and value.strip(" ,*"):
        assert value not in text
    assert not any(str(secret) in text for name, secret in GOOD.items() if name != "ALLOWED_HOSTS")


@pytest.mark.parametrize("case", UNSAFE)
def test_it_refuses_an_unsafe_production(outcomes: dict[object, Any], case: tuple[str, str | None]) -> None:
    check_refusal(outcomes[case], *case)


@pytest.mark.parametrize("case", INVALID)
def test_it_refuses_an_invalid_value(outcomes: dict[object, Any], case: tuple[str, str, str]) -> None:
    assert outcomes[case].startswith(f"{case[0]} is not {case[2]}")


@dataclass(frozen=True)
class Ending:
    code: int
    output: str
    was_bound: bool


def launch(module: str, folder: Path, variable: str, value: str | None) -> Ending:
    environment = {name: text for name, text in (GOOD | {variable: value}).items() if text is not None}
    port = free_port()
    environment |= {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "DEBUG": "false"}
    environment |= {"DATA_DIR": str(folder), "PORT": str(port)}
    command = [sys.executable, "-m", module, "web"]
    was_bound = False
    with subprocess.Popen(  # noqa: S603
        command, cwd=BASE_DIR, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while process.poll() is None:
            with socket.socket() as probe:
                was_bound |= probe.connect_ex(("127.0.0.1", port)) == 0
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        assert process.stdout is not None
        return Ending(process.returncode, process.stdout.read(), was_bound)


LAUNCHERS = {"make run": "config.dev.supervisor", "a container": "config.programs"}
# Both read the settings above: one unsafe value of each variable shows that they refuse to start.
LAUNCHES = [
    pytest.param(name, UNSAFE[number], marks=[] if number == 2 else pytest.mark.integration)
    for name in LAUNCHERS
    for number in (2, 10, 12)
]


@pytest.mark.long
@pytest.mark.parametrize(("launcher", "case"), LAUNCHES)
def test_it_refuses_to_start(tmp_path: Path, launcher: str, case: tuple[str, str | None]) -> None:
    ending = launch(LAUNCHERS[launcher], tmp_path / "refused", *case)
    assert ending.code != 0
    assert not ending.was_bound
    assert "Traceback" not in ending.output
    check_refusal(ending.output, *case)


def test_a_taken_port_leaves_no_folder_behind(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "config.dev.supervisor"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment["PORT"] = port = str(taken.getsockname()[1])
        done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stdout) == (1, f"Port {port} on 127.0.0.1 is taken: set PORT to another one\n")
    assert not (tmp_path / "data").exists()
