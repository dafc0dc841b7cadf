"""The configuration of `make run`, read from the environment and .env, and the processes to start with it."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from django.core.exceptions import ImproperlyConfigured
from environ import Env

from config import secret_files
from config.dev import embedded
from config.dev.processes import BASE_DIR, MARK, Child, StartError
from config.programs import commands

# The 64 threads of a web worker, its receiver, its notifier and its check of the stores each keep a connection open
# (config.rsgi.bridge, config.web); other processes and psql need connections too.
_WEB_CONNECTIONS = 67
_OTHER_CONNECTIONS = 40
SERVICES = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL")


def dotenv() -> dict[str, str]:
    """Return the variables in .env without setting them in this process.

    Child processes would inherit variables that are set here, and would then ignore a change of .env after a reload.
    """

    class EnvFile(Env):  # type: ignore[misc]
        ENVIRON: dict[str, str] = {}

    file = Path(os.environ.get("ENV_FILE", BASE_DIR / ".env"))
    if file.exists():  # otherwise django-environ logs that .env is missing, in the output of `make health`
        EnvFile.read_env(str(file))
    return EnvFile.ENVIRON


@dataclass(frozen=True)
class Launch:
    environment: Mapping[str, str]
    data_dir: Path
    host: str
    port: int
    web_workers: int
    is_development: bool

    @classmethod
    def from_environment(cls) -> "Launch":
        environment = {name: value for name, value in {**dotenv(), **os.environ}.items() if value}
        try:
            secret_files.read_into(environment)
        except ImproperlyConfigured as error:
            raise StartError(str(error)) from None
        return cls(
            environment=environment,
            data_dir=(BASE_DIR / Path(environment.get("DATA_DIR", ".data")).expanduser()).resolve(),
            host=environment.get("HOST", "127.0.0.1"),
            port=_number(environment, "PORT", 8095, 65535),
            web_workers=_number(environment, "WEB_WORKERS", os.cpu_count() or 1, 256),
            is_development=environment.get("DEBUG", "true").lower() in Env.BOOLEAN_TRUE_STRINGS,
        )

    @property
    def reachable_host(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 (compared, not bound)
        return f"[{host}]" if ":" in host else host

    @property
    def url(self) -> str:
        return f"http://{self.reachable_host}:{self.port}"

    def request_status(self, path: str, url: str | None = None) -> str:
        """Request a path; return the HTTP status and the "status" in the response's JSON, or why no response came."""
        # Use a host name that ALLOWED_HOSTS accepts.
        allowed = self.environment.get("ALLOWED_HOSTS", "*").split(",")[0].strip()
        host = self.reachable_host if allowed == "*" else allowed.removeprefix(".")
        request = Request((url or self.url) + path, headers={"Host": host})  # noqa: S310 (http)
        try:
            with urlopen(request, timeout=5) as response:  # noqa: S310 (http)
                return f"{response.status} {json.load(response).get('status', '')}".rstrip()
        except HTTPError as error:
            return f"{error.code}"
        except HTTPException:
            return "no answer (not HTTP)"
        except (OSError, ValueError) as error:
            return f"no answer ({getattr(error, 'reason', error)})"

    def child_environment(self, urls: Mapping[str, str]) -> dict[str, str]:
        env = {
            **os.environ,
            **urls,
            "DATA_DIR": str(self.data_dir),
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PROMETHEUS_MULTIPROC_DIR": str(self.data_dir / "prometheus"),
            "PYTHONUNBUFFERED": "1",
            MARK: str(self.data_dir),
        }
        if self.is_development:
            env["DEBUG"] = "true"
            percentage = "PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE"
            env[percentage] = self.environment.get(percentage, "100")
        return env

    def log(self, name: str) -> Path:
        return self.data_dir / "logs" / f"{name}.log"

    def servers(self) -> Iterator[tuple[str, embedded.Server]]:
        """Yield the servers to start, each with the name of its URL variable.

        A server is started for each service whose URL is not set. If REDIS_URL is set, the broker uses that server too,
        so no server is started for the broker.
        """
        sockets, env = embedded.socket_folder(self.data_dir), embedded.environment(self.data_dir)
        if "DATABASE_URL" not in self.environment:
            connections = self.web_workers * _WEB_CONNECTIONS + _OTHER_CONNECTIONS
            data, log = self.data_dir / "postgres", self.log("postgres")
            yield "DATABASE_URL", embedded.postgres(data, sockets, log, env, max_connections=connections)
        if "REDIS_URL" not in self.environment:
            data, log = self.data_dir / "cache", self.log("cache")
            yield "REDIS_URL", embedded.valkey_cache(data, log, env, self.environment)
            if "CELERY_BROKER_URL" not in self.environment:
                data, log = self.data_dir / "broker", self.log("broker")
                yield "CELERY_BROKER_URL", embedded.valkey_broker(data, sockets, log, env)

    def application(self, env: Mapping[str, str]) -> list[Child]:
        """Return the project's own processes, in start order."""
        argvs = commands(self.host, self.port, self.web_workers, self.data_dir)
        return [
            # PostgreSQL shows this name to administrators.
            Child(name, [sys.executable, *argv], {**env, "PGAPPNAME": f"directory-{name}"}, self.log(name))
            for name, argv in argvs.items()
        ]


def write_service_files(launch: Launch, urls: Mapping[str, str]) -> None:
    """Write the service URLs to services.env, and mode, host and port to running.env, for other commands to read."""
    services = launch.data_dir / "services.env"
    services.touch(mode=0o600)
    services.write_text("".join(f"{name}={urls[name]}\n" for name in SERVICES))
    mode = "DEBUG=true\n" if launch.is_development else ""
    (launch.data_dir / "running.env").write_text(f"{mode}HOST={launch.host}\nPORT={launch.port}\n")


def _number(environment: Mapping[str, str], name: str, default: int, maximum: int) -> int:
    text = environment.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= maximum):
        raise StartError(f"{name} must be a number from 1 to {maximum}, not {text!r}")
    return int(text)
