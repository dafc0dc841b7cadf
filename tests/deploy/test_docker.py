"""The page on deployment, on a real Docker engine: its commands and the runbook's, an upgrade under load, and faults.

``make test-deploy`` runs it; without an engine, or without an image, it is skipped. The tests build on each other, on
one stack.
"""

import asyncio
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import trustme
import yaml

from config.dev.processes import BASE_DIR
from tests.deploy.proxy import Proxy
from tests.deploy.stack import (
    DOCUMENT,
    PORTS,
    Load,
    Stack,
    engine,
    missing_image,
    run_scripts,
    script,
    scripts,
    wait_for,
)
from tests.guide.guide import blocks

REASON = engine()
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("docker"),
    pytest.mark.skipif(REASON is not None, reason=f"the deployment with Docker was not tested: {REASON}"),
]
OURS = {"web", "web2", "inbox", "worker", "beat"}
RUNNING = {*OURS, "postgres", "redis", "broker", "prometheus", "grafana"}
LOGIN_WORD = "correct-horse-battery-1"
MANAGE = "docker compose exec web python manage.py"
PSQL = "docker compose exec postgres psql --username directory directory"
# The stand-in and the official image, each in its own way, stay in the middle of the first start.
SLOW = """
services:
  postgres:
    environment: {STANDIN_INIT_SLEEP: "15"}
    volumes: ["./slow:/docker-entrypoint-initdb.d:ro"]
"""
# Stores of somebody else, whose passwords have characters that a URL or a shell would change.
THEIRS = """
services:
  their-postgres:
    image: postgres:18-bookworm
    environment:
      POSTGRES_USER: theirs
      POSTGRES_DB: names
      POSTGRES_PASSWORD: "p@s:s/w%rd#1 x"
      POSTGRES_INITDB_ARGS: LOCALE
    networks: [outside]
    healthcheck: {test: [CMD, pg_isready, --host, 127.0.0.1], interval: 2s, start_period: 60s}
  their-redis:
    image: valkey/valkey:9-alpine
    command: [valkey-server, --port, "6380", --user, directory, "on", ">p@s:s/w%rd", "~*", "&*", "+@all"]
    networks: [outside]
    healthcheck: {test: [CMD, valkey-cli, -p, "6380", ping], interval: 2s}
  their-broker:
    image: valkey/valkey:9-alpine
    command: [valkey-server, --requirepass, "q@ueue"]
    networks: [outside]
    healthcheck: {test: [CMD, valkey-cli, ping], interval: 2s}
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return a stack that the page's commands have started, with a PostgreSQL that is slow at its first start."""
    if image := missing_image():
        pytest.skip(f"the deployment with Docker was not tested: {image} is not here and cannot be pulled")
    stack = Stack(tmp_path_factory.mktemp("docker") / "directory")
    stack.set(POSTGRES_PASSWORD="'a$b@c:d/e%f c'")
    make_slow(stack)
    start, create, *checks = script("docker compose up --detach --build").splitlines()
    try:
        stack.run(start)
        user = "--no-input --username admin --email admin@example.ru"
        stack.run(f"{create.replace('exec', f'exec -e DJANGO_SUPERUSER_PASSWORD={LOGIN_WORD}')} {user}")
        for line in checks:
            print(stack.run(line).stdout)  # noqa: T201 (what a newcomer sees)
        yield stack
    finally:
        stack.remove()


def make_slow(stack: Stack) -> None:
    (stack.folder / "slow").mkdir(exist_ok=True)
    (stack.folder / "slow" / "sleep.sh").write_text("sleep 15\n")
    (stack.folder / "slow.yml").write_text(SLOW)
    stack.set(COMPOSE_FILE="docker-compose.yml:slow.yml")


def is_healthy(stack: Stack, names: set[str] = RUNNING) -> bool:
    states = stack.states()
    return all(states[name]["Health"] == "healthy" for name in names)


def scrapes(stack: Stack) -> set[str]:
    """Return the health of Prometheus's targets."""
    answer = stack.in_service("prometheus", "wget -qO- http://127.0.0.1:9090/api/v1/targets")
    return {target["health"] for target in json.loads(answer)["data"]["activeTargets"]}


def test_every_service_becomes_healthy(stack: Stack) -> None:
    wait_for("healthy", lambda: is_healthy(stack), 180)
    assert set(stack.states()) == {*RUNNING, "migrate"}
    lines = stack.manage("health", is_checked=False).splitlines()
    assert {line.split()[0] for line in lines if " ok " in line} >= {"web", "postgresql", "schema", "redis", "broker"}
    with urlopen(f"http://localhost:{stack.ports['MAXBOT_HTTP_PORT']}/ready", timeout=20) as answer:
        assert answer.status == 200
    wait_for("scraped", lambda: scrapes(stack) == {"up"}, 60)


def test_the_main_job_works_through_all_ports(stack: Stack) -> None:
    for phase in (1, 2, 3):
        stack.manage(f"rollout set --phase {phase} --percent 100 --force --by admin --reason test")
    authorization = {"Authorization": f"Bearer {stack.token(LOGIN_WORD, 'EMPLOYEE_SERVICE_PORT')}"}
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


NOT_COMPILED = """
import os, sys, config.settings, config.web_server, config.alive, django
django.setup()
paths = [getattr(module, "__cached__", None) for module in list(sys.modules.values())]
print([path for path in paths if path and not os.path.exists(path)])
"""
CHECK_SECONDS = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "config.alive", "inbox"], check=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(round(usage.ru_utime + usage.ru_stime, 2))
"""


def test_the_image_has_byte_code_of_every_module(stack: Stack) -> None:
    python = "docker compose exec -T -e DJANGO_SETTINGS_MODULE=config.settings web python -"
    code = stack.run(python, input=NOT_COMPILED)
    assert code.stdout == "[]\n"
    seconds = stack.run("docker compose exec -T inbox python -", input=CHECK_SECONDS).stdout.strip()
    usage = stack.run("docker stats --no-stream --format '{{.Name}} {{.CPUPerc}}'").stdout
    idle = sum(map(float, re.findall(rf"^{stack.name}-\S+ ([\d.]+)%", usage, re.MULTILINE)))
    print(f"\nA health check takes {seconds} s of a processor; the idle stack {idle:.0f} % of one")  # noqa: T201 (a figure)


def in_docker(command: str) -> str:
    """Return the form with Docker of a command for Python alone, as the page and the runbook describe it."""
    command = re.sub(r"^(?:\.venv/bin/python )?manage\.py", MANAGE, command).replace("make health", f"{MANAGE} health")
    command = re.sub(r"make redis-cli ARGS='?([^']*)'?", r"docker compose exec redis valkey-cli -n 1 \1", command)
    command = re.sub(r"^tail -n 20 .*/logs/cache.log\S*", "docker compose logs --tail 20 redis", command)
    command = re.sub(r'^(grep (?:".*"|\S+)) (\w+)\.log', r"docker compose logs \2 | \1", command)
    return re.sub(r"--phone (\+7…|P)", "--phone +79160000000", command).replace('"…"', "test").replace("…", "1")


# These need a bot of MAX, a public address or something that has failed, so that they may refuse.
MAY_REFUSE = re.compile(
    r"max_subscription|validate|grep|resume|retry-failed|backfill undo|rollback (cache|webhook) --undo|health"
)


@pytest.mark.parametrize("name", ["runbook", "on-call"])
def test_each_command_of_the_operators_pages_works(stack: Stack, name: str) -> None:
    text = (DOCUMENT.parent / f"{name}.md").read_text()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks(text) for line in block.script.splitlines()]
    beginnings = "manage\\.py|make health|make redis-cli|grep|docker compose"
    commands += [" ".join(code.split()) for code in re.findall(rf"`((?:{beginnings}) [^`]+)`", prose)]
    not_whole = re.compile(r"ID --by|(manage\.py|python)$|--university N|psql")
    commands = [command for command in commands if not not_whole.search(command)]
    assert len(commands) > (40 if name == "runbook" else 8)
    for command in dict.fromkeys(map(in_docker, commands)):
        done = stack.run(command, is_checked=False)
        output = f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in output, output
        assert done.returncode == 0 or (done.returncode < 5 and MAY_REFUSE.search(command)), output
    for statements in re.findall(r"^```sql\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        stack.run(f"{PSQL} --set ON_ERROR_STOP=1", input=statements)


def test_each_form_with_docker_works(stack: Stack) -> None:
    section = DOCUMENT.read_text().partition("### Commands with Docker")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `.*\|$", section, re.MULTILINE)
    forms = [code.replace("\\|", "|") for row in rows for code in re.findall(r"`(docker[^`]+)`", row)]
    assert len(forms) == 11
    (stack.folder / "people.xlsx").write_text("Телефон;Фамилия;ИНН;Вуз\n8 916 777-66-55;Орлова;7707083893;СПбГУ\n")
    for written in forms:
        form = written.replace("manage.py …", "manage.py rollout status").replace("grep …", "grep --count .")
        form = re.sub(r"(.* --follow .*)", r"timeout 5 \1 || test $? = 124", form)
        stack.run(form, input="SELECT count(*) FROM employees;\n" if "psql" in form else "")
    assert stack.sql("SELECT last_name FROM employees WHERE phone = '+79167776655'") == "Орлова"
    assert "<html" in (stack.folder / "report.html").read_text()


def ids(states: dict[str, Any]) -> dict[str, str]:
    return {name: state["ID"] for name, state in states.items()}


def dangling(stack: Stack) -> set[str]:
    return set(stack.run("docker images --filter dangling=true --quiet").stdout.split())


def test_nothing_restarts_without_a_change(stack: Stack) -> None:
    before, images = stack.states(), dangling(stack)
    stack.run("docker compose up --detach --build --wait")
    assert ids(stack.states()) == ids(before)
    assert dangling(stack) == images


async def send_large(port: int, path: str, size: int) -> tuple[str, int]:
    """Send a POST without logging in; return the status, or an empty text if there is none, and the bytes sent."""
    sent = 0
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {size}\r\n\r\n".encode())
        while sent < size:
            writer.write(b"x" * min(65536, size - sent))
            await writer.drain()
            sent += min(65536, size - sent)
        answer = await asyncio.wait_for(reader.readline(), 60)
        writer.close()
        return answer.decode()[9:12], sent
    except (OSError, TimeoutError):
        # The server has refused it and closed the connection.
        return "", sent


async def send_many(port: int, paths: list[str], size: int) -> tuple[Counter[str], int]:
    answers = await asyncio.gather(*(send_large(port, path, size) for path in paths))
    return Counter(status for status, _ in answers), sum(sent for _, sent in answers)


def memory(stack: Stack, service: str) -> tuple[int, int]:
    """Return the most memory that a container has used, in MB, and how many of its processes were killed for it."""
    folder = "/sys/fs/cgroup"
    peak = f"cat {folder}/memory.peak {folder}/memory/memory.max_usage_in_bytes 2>/dev/null || true"
    kills = f"cat {folder}/memory.events {folder}/memory/memory.oom_control 2>/dev/null | grep oom_kill || true"
    killed = re.findall(r"^oom_kill (\d+)", stack.in_service(service, kills), re.MULTILINE)
    return int(stack.in_service(service, peak) or 0) // 10**6, sum(map(int, killed))


def test_large_posts_without_a_log_in_do_not_use_up_the_memory(stack: Stack) -> None:
    before = stack.states()["web"]["ID"]
    paths = ["/admin/employees/employee/import/", "/employees", "/webhook/max", "/api/token"] * 100
    sending = send_many(stack.ports["MAXBOT_HTTP_PORT"], paths, 16_000_000)
    updates = list[int]()
    with ThreadPoolExecutor() as pool:
        flood = pool.submit(asyncio.run, sending)
        while not flood.done() or len(updates) < 10:
            updates.append(stack.update(2_000_000 + len(updates)))
    answers, sent = flood.result()
    peak, killed = memory(stack, "web")
    print(  # noqa: T201 (figures)
        f"\n400 posts of 16 MB: {dict(answers)}, {sent / 1e9:.1f} GB sent; at most {peak} MB of memory; "
        f"meanwhile {len(updates)} updates: {dict(Counter(updates))}"
    )
    assert answers.keys() <= {"302", "400", "401", "403", "413", "429", "503", ""}
    assert set(updates) == {200}
    assert killed == 0
    assert stack.states()["web"]["ID"] == before
    wait_for("healthy", lambda: is_healthy(stack), 60)


def test_an_upgrade_refuses_no_request(stack: Stack, tmp_path: Path) -> None:
    (stack.folder / "config" / "released.py").write_text('"""A change, so that the image differs."""\n')
    before = ids(stack.states())
    taken = int(stack.sql("SELECT count(*) FROM webhook_inbox"))
    proxy = Proxy(tmp_path, [stack.ports["MAXBOT_HTTP_PORT"], stack.ports["MAXBOT_HTTP_PORT_2"]])
    try:
        with Load(stack, proxy, stack.token(LOGIN_WORD)) as load:
            seconds = stack.timed(script("docker compose run --rm migrate").replace("git pull &&\n", ""))
    finally:
        proxy.stop()
    after = stack.states()
    assert {name for name, number in before.items() if ids(after)[name] != number} == {*OURS, "migrate"}
    requests = sum(load.answers.values())
    print(  # noqa: T201 (figures)
        f"\n{requests} requests in the {seconds:.0f} s of the upgrade, {requests / seconds:.0f} per second: "
        f"{dict(load.answers)}; the slowest took {load.slowest:.1f} s"
    )
    assert set(load.answers) == {("POST /webhook/max", 200), ("GET /employees", 200), ("POST /employees", 201)}
    assert int(stack.sql("SELECT count(*) FROM webhook_inbox")) - taken >= load.answers["POST /webhook/max", 200]
    created = stack.sql("SELECT count(*) FROM employees WHERE phone LIKE '+7917%'")
    assert int(created) == load.answers["POST /employees", 201]
    stack.run("docker compose up --detach --build --wait")
    assert ids(stack.states()) == ids(after)
    # The processes that were replaced have signed off.
    wait_for("no silent process", lambda: "silent" not in stack.manage("rollout status"), 60)


def test_the_schema_goes_back_and_forth_with_its_archive(stack: Stack) -> None:
    employees = "SELECT phone, profile_source, profile_last_updated FROM employees ORDER BY phone"
    before = stack.sql(employees)
    assert "webhook" in before
    [plan] = [
        block.script
        for block in blocks((DOCUMENT.parent / "roll-back.md").read_text())
        if "rollback schema" in block.script
    ]
    for line in plan.splitlines():
        stack.run(in_docker(line))
    stack.run(f"docker compose stop {' '.join(sorted(OURS))}")
    reason = shlex.quote("the contract ends")
    stack.run(f"docker compose run --rm --no-deps web python manage.py rollback schema --reason {reason}")
    columns = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'profile_source'"
    assert stack.sql(f"{columns} AND table_name = 'employees'") == "0"
    stack.run("docker compose down && docker compose up --detach --wait")
    wait_for("healthy", lambda: is_healthy(stack), 180)
    assert stack.sql(employees) == before


def test_a_backup_restores_an_empty_system(stack: Stack) -> None:
    # The rollout controller sends synthetic updates before and after.
    last = stack.sql("SELECT max(id) FROM webhook_inbox")
    taken = f"SELECT count(*) FROM webhook_inbox WHERE id <= {last}"  # noqa: S608 (a number)
    rows = f"SELECT ({taken}), count(*), max(updated_at) FROM employees"  # noqa: S608
    before = stack.sql(rows)
    stack.run(script("docker compose exec -T postgres pg_dump"))
    assert not (stack.folder / "directory.dump").stat().st_mode & 0o077
    stack.run("docker compose down --volumes")
    stack.run(script("docker compose up --detach --wait postgres"))
    wait_for("healthy", lambda: is_healthy(stack), 180)
    assert stack.sql(rows) == before


def test_stores_of_somebody_else_come_from_env(stack: Stack) -> None:
    stack.run("docker compose down --volumes")
    services = yaml.safe_load((BASE_DIR / "docker-compose.yml").read_text())["services"]
    locale = services["postgres"]["environment"]["POSTGRES_INITDB_ARGS"]
    (stack.folder / "theirs.yml").write_text(THEIRS.replace("LOCALE", locale))
    [mounts] = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (stack.folder / "docker-compose.override.yml").write_text(mounts)
    (stack.folder / "ca").mkdir()
    trustme.CA().cert_pem.write_to_path(stack.folder / "ca" / "roots.pem")
    stack.set(
        COMPOSE_FILE="docker-compose.yml:docker-compose.override.yml:theirs.yml",
        COMPOSE_PROFILES="monitoring",
        DATABASE_URL="postgresql://theirs@their-postgres:5432/names",
        POSTGRES_PASSWORD="'p@s:s/w%rd#1 x'",
        REDIS_URL="redis://directory:p%40s%3As%2Fw%25rd@their-redis:6380/1",
        CELERY_BROKER_URL="redis://:q%40ueue@their-broker:6379/2",
        MAX_API_CA_BUNDLE="/ca/roots.pem",
        PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE="100",
    )
    theirs = {"their-postgres", "their-redis", "their-broker"}
    stack.run(f"docker compose up --detach --wait {' '.join(theirs)}")
    stack.run("docker compose up --detach --wait")
    wait_for("healthy", lambda: is_healthy(stack, OURS), 180)
    assert set(stack.states()) == {*OURS, *theirs, "migrate", "prometheus", "grafana"}
    assert "profiles.E003" not in stack.manage("check --deploy --fail-level WARNING")
    assert stack.update(1) == 200
    client = 'valkey-cli -p 6380 --user directory --pass "p@s:s/w%rd" -n 1'
    get = f"{client} --raw GET profile:user:7000001"
    wait_for("cached", lambda: "Анна" in stack.in_service("their-redis", get), 30)
    query = 'psql --username theirs --tuples-only --command "SELECT count(*) FROM profile_cache" names'
    assert stack.in_service("their-postgres", query) == "1"


def test_secrets_come_from_files(stack: Stack) -> None:
    stack.run("docker compose down --volumes --remove-orphans")
    stack.configure()
    stack.run(script("mkdir --mode 700 secrets"))
    files = {file.name: file.read_text().strip() for file in (stack.folder / "secrets").iterdir()}
    # A stand-in of PostgreSQL's image may not know POSTGRES_PASSWORD_FILE.
    text = f'services: {{postgres: {{environment: {{POSTGRES_PASSWORD: "{files["postgres_password"]}"}}}}}}'
    (stack.folder / "stand-in.yml").write_text(text)
    stack.set(COMPOSE_FILE="docker-compose.yml:deploy/compose-secrets.yml:stand-in.yml")
    stack.run("docker compose up --detach --wait")
    wait_for("healthy", lambda: is_healthy(stack), 180)
    wait_for("scraped", lambda: scrapes(stack) == {"up"}, 60)
    stack.set(WEBHOOK_SECRET=files["webhook_secret"])
    assert stack.update(1) == 200
    variables = "".join(stack.in_service(service, "env") for service in OURS)
    assert not [name for name, value in files.items() if len(value) > 60 and value in variables]
    given = {service: set(stack.in_service(service, "ls /run/secrets").split()) for service in (*OURS, "grafana")}
    assert given["web"] == given["web2"] == files.keys() - {"grafana_password"}
    assert given["worker"] == given["web"] - {"monitoring_token"}
    assert given["beat"] == given["inbox"] - {"max_bot_token"}
    assert given["grafana"] == {"grafana_password"}


def test_a_first_start_that_was_killed_starts_again(stack: Stack) -> None:
    stack.run("docker compose down --volumes")
    stack.configure()
    make_slow(stack)
    stack.run("docker compose up --detach postgres")
    by_socket = f"{PSQL} --command 'SELECT 1'"
    wait_for("the server of the first start", lambda: stack.run(by_socket, is_checked=False).returncode == 0, 60)
    assert stack.states()["postgres"]["Health"] == "starting"
    stack.run("docker compose kill postgres")
    stack.run("docker compose up --detach --wait web")
    assert stack.update(1) == 200


def test_every_script_of_the_page_was_run() -> None:
    docker = [text for text in scripts() if "docker" in text or "secrets" in text or ".env" in text]
    assert [text for text in docker if text not in run_scripts] == []
