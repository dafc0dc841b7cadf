"""The page on deployment, on a real Docker engine: main job, upgrade under load, way back, backup, secrets in files.

``make test-deploy`` runs it; without an engine it is skipped. The tests build on each other, on one stack.
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.deploy.stack import PORTS, Load, Stack, engine, script, wait_for

REASON = engine()
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("docker"),
    pytest.mark.skipif(REASON is not None, reason=f"the deployment with Docker was not tested: {REASON}"),
]
RUNNING = {"web", "web2", "inbox", "worker", "beat", "postgres", "redis", "broker", "prometheus", "grafana"}
PASSWORD = "correct-horse-battery-1"
UPGRADE = "docker compose wait migrate"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return a running stack, whose database password has characters that a URL or a shell would change."""
    stack = Stack(tmp_path_factory.mktemp("docker") / "directory")
    stack.set(POSTGRES_PASSWORD="'a$b@c:d/e%f c'")
    try:
        stack.run("docker compose up --detach --build --wait")
        yield stack
    finally:
        stack.remove()


def is_healthy(stack: Stack) -> bool:
    states = stack.states()
    return all(states[name]["Health"] == "healthy" for name in RUNNING)


def test_every_service_becomes_healthy(stack: Stack) -> None:
    wait_for("healthy", lambda: is_healthy(stack), 180)
    assert set(stack.states()) == {*RUNNING, "migrate"}
    stack.manage("check --deploy --fail-level ERROR")
    lines = stack.manage("health", is_checked=False).splitlines()
    assert {line.split()[0] for line in lines if " ok " in line} >= {"web", "postgresql", "schema", "redis", "broker"}


def test_the_main_job_works_through_all_ports(stack: Stack) -> None:
    create = "docker compose exec -T -e DJANGO_SUPERUSER_PASSWORD web python manage.py createsuperuser --no-input"
    stack.run(f"DJANGO_SUPERUSER_PASSWORD={PASSWORD} {create} --username admin --email admin@example.ru")
    _, pair = stack.send("EMPLOYEE_SERVICE_PORT", "/api/token", {"username": "admin", "password": PASSWORD})
    for phase in (1, 2, 3):
        stack.manage(f"rollout set --phase {phase} --percent 100 --force --by admin --reason test")
    authorization = {"Authorization": f"Bearer {pair['access']}"}
    for number, port in enumerate(PORTS[:4]):
        assert stack.update(1_000_000 + number, port) == 200
        assert stack.send(port, "/ready", None)[0] == 200
    wait_for("taken", lambda: stack.sql("SELECT count(*) FROM webhook_inbox WHERE state = 'pending'") == "0", 30)
    for number, port in enumerate(PORTS[:4]):
        body = {"phone": f"+7916000000{number}", "max_id": str(8_000_000 + number), "university_name": "СПбГУ"}
        status, employee = stack.send(port, "/employees", body, **authorization)
        assert (status, employee["first_name"], employee["profile_source"]) == (201, "Анна", "webhook")


def test_counters_are_exported_without_a_web_service(stack: Stack) -> None:
    # With other profiles, Compose would create the dependencies again.
    profiles = f"COMPOSE_PROFILES={stack.value('COMPOSE_PROFILES')},metrics"
    stack.run(f"{profiles} docker compose up --detach --no-deps --wait metrics")
    token = {"Authorization": f"Bearer {stack.value('MONITORING_TOKEN')}"}
    with urlopen(Request(f"http://127.0.0.1:{stack.ports['METRICS_PORT']}/metrics", headers=token)) as answer:
        counters = answer.read().decode()
    assert 'webhook_events_total{status="success",type="bot_started"} 4.0' in counters
    stack.run(f"{profiles} docker compose rm --stop --force metrics")


def dangling(stack: Stack) -> set[str]:
    return set(stack.run("docker images --filter dangling=true --quiet").stdout.split())


def test_nothing_restarts_without_a_change(stack: Stack) -> None:
    before = {name: state["ID"] for name, state in stack.states().items()}
    images = dangling(stack)
    stack.run("docker compose up --detach --build --wait")
    after = {name: state["ID"] for name, state in stack.states().items()}
    assert {name for name in RUNNING if before[name] != after[name]} == set()
    assert dangling(stack) == images


def test_an_upgrade_refuses_no_request(stack: Stack) -> None:
    (stack.folder / "config" / "released.py").write_text('"""A change, so that the image differs."""\n')
    before = stack.states()
    with Load(stack) as load:
        stack.run(script(UPGRADE).replace("git pull\n", ""))
    after = stack.states()
    assert all(before[name]["ID"] != after[name]["ID"] for name in ("web", "web2", "inbox", "worker", "beat"))
    print(f"\n{sum(load.answers.values())} requests during the upgrade: {load.answers}")  # noqa: T201 (a figure)
    assert set(load.answers) == {200}
    stored = stack.sql("SELECT count(*) FROM webhook_inbox WHERE state <> 'dead'")
    assert int(stored) >= load.answers[200]


def test_the_schema_goes_back_and_forth_with_its_archive(stack: Stack) -> None:
    employees = "SELECT phone, profile_source, profile_last_updated FROM employees ORDER BY phone"
    before = stack.sql(employees)
    assert "webhook" in before
    for phase in (3, 2, 1):
        stack.manage(f"rollout set --phase {phase} --percent 0 --by admin --reason test")
    stack.manage("rollback schema --by admin --reason test")
    columns = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'profile_source'"
    assert stack.sql(f"{columns} AND table_name = 'employees'") == "0"
    stack.run("docker compose down && docker compose up --detach --wait")
    wait_for("healthy", lambda: is_healthy(stack), 180)
    assert stack.sql(employees) == before


def test_a_backup_restores_an_empty_system(stack: Stack) -> None:
    stack.run(script("docker compose exec -T postgres pg_dump"))
    before = stack.sql("SELECT count(*), max(id) FROM webhook_inbox")
    stack.run("docker compose down --volumes")
    stack.run(script("docker compose up --detach --wait postgres"))
    wait_for("healthy", lambda: is_healthy(stack), 180)
    assert stack.sql("SELECT count(*), max(id) FROM webhook_inbox") == before


def test_secrets_come_from_files(stack: Stack) -> None:
    stack.run("docker compose down --volumes")
    stack.run(script("install --directory"))
    # A stand-in of PostgreSQL's image may not know POSTGRES_PASSWORD_FILE.
    password = (stack.folder / "secrets" / "postgres_password").read_text().strip()
    text = f'services: {{postgres: {{environment: {{POSTGRES_PASSWORD: "{password}"}}}}}}'
    (stack.folder / "stand-in.yml").write_text(text)
    stack.set(COMPOSE_FILE="docker-compose.yml:deploy/compose-secrets.yml:stand-in.yml")
    stack.set(**dict.fromkeys(("SECRET_KEY", "WEBHOOK_SECRET", "MONITORING_TOKEN", "POSTGRES_PASSWORD"), "file"))
    stack.run("docker compose up --detach --wait")
    wait_for("healthy", lambda: is_healthy(stack), 180)
    secret = (Path(stack.folder) / "secrets" / "webhook_secret").read_text().strip()
    stack.set(WEBHOOK_SECRET=secret)
    assert stack.update(1) == 200
    for service, is_given in (("web", True), ("inbox", False)):
        done = stack.run(f"docker compose exec -T {service} cat /run/secrets/monitoring_token", is_checked=False)
        assert (done.returncode == 0) == is_given
