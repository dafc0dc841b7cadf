"""Every variable is read somewhere, is in .env.example, and is in the table of docs/reference/environment.md, once."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


READS = re.compile(r'(?:env\.\w+\(|(?:environ|environment|variables)(?:\.get\(|, |\[))"([A-Z][A-Z0-9_]+)"')
INTERNAL = {
    "CONTENT_LENGTH", "PATH_INFO", "REQUEST_METHOD", "ARGS", "MAKELEVEL", "ENV_FILE", "PATH", "HOME", "CI",
    "HTTP_X_REQUEST_ID", "PROMETHEUS_MULTIPROC_DIR", "FILE", "REPLACE", "SCENE", "DEMO_MESSENGER",
}  # fmt: skip
# Read by docker-compose.yml alone (tests/deploy).
COMPOSE_ONLY = {
    "EMPLOYEE_SERVICE_PORT", "GRAFANA_DASHBOARD_ENABLED", "GRAFANA_PASSWORD", "GRAFANA_PORT", "IMAGE_TAG",
    "COMPOSE_PROFILES", "EMPLOYEE_SERVICE_PORT_2", "METRICS_PORT", "MAXBOT_HTTP_PORT", "MAXBOT_HTTP_PORT_2",
    "POSTGRES_MAX_CONNECTIONS", "POSTGRES_PASSWORD", "PUBLISH_ON", "REQUIREMENTS",
    # And by OpenTelemetry.
    "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
}  # fmt: skip


def read_by_the_code() -> set[str]:
    sources = "\n".join(path.read_text() for path in (ROOT / "config").rglob("*.py"))
    return set(READS.findall(sources)) - INTERNAL


def in_the_example() -> list[str]:
    return re.findall(r"^([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)


def in_the_table() -> list[str]:
    table = (ROOT / "docs" / "reference" / "environment.md").read_text()
    return re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", table, re.MULTILINE)


def test_the_example_and_the_table_list_what_is_read() -> None:
    assert sorted(in_the_example()) == sorted(in_the_table()) == sorted(read_by_the_code() | COMPOSE_ONLY)
