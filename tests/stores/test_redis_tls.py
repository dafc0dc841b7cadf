"""The whole system with a cache and a task queue over TLS, as an ACL user; and the name of a certificate's fault."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
import trustme

from config.dev import embedded
from config.dev.processes import BASE_DIR, Child
from config.dev.processes import stop as stop_children
from tests.chaos.system import System
from tests.chaos.updates import random_bodies
from tests.chaos.webhook_load import Sender
from tests.stores.programs import SERVER, Certificate, issue
from tests.waiting import seconds_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("slow"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(not SERVER, reason="no redis-server, and the bundled Valkey has no TLS"),
]
USER, PASSWORD = "directory", "p@ss:wörd/%"


@dataclass
class Tls:
    port: int
    certificate: Certificate

    @property
    def ca(self) -> Path:
        return self.certificate.ca

    def url(self, database: int, ca: Path | None, scheme: str = "rediss") -> str:
        login = f"{USER}:{quote(PASSWORD, safe='')}"
        return f"{scheme}://{login}@127.0.0.1:{self.port}/{database}" + (f"?ssl_ca_certs={ca}" if ca else "")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    folder = tmp_path_factory.mktemp("tls")
    server = Tls(embedded.free_port(), issue(folder))
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    (folder / "users.acl").write_text(f"user default off\nuser {USER} on >{PASSWORD} ~* &* +@all -@dangerous +info\n")
    options = {
        "port": "0",
        "tls-port": str(server.port),
        "save": "",
        "aclfile": f"{folder}/users.acl",
        "dir": str(folder),
    }
    options |= server.certificate.options()
    argv = [SERVER or "", *(word for name, value in options.items() for word in (f"--{name}", value))]
    child = Child("redis", argv, embedded.environment(folder), folder / "redis.log")
    child.start()
    try:
        with closing(redis.Redis.from_url(server.url(1, server.ca))) as client:
            seconds_until(lambda: answers(client))
        yield server
    finally:
        stop_children([child], seconds=3)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_it_works(tls: Tls) -> None:
    system = System(REDIS_URL=tls.url(1, tls.ca), CELERY_BROKER_URL=tls.url(2, tls.ca), MONITORING_CHECK_INTERVAL="5s")
    try:
        system.start()
        bodies = random_bodies(20)
        with closing(Sender(system)) as sender:
            assert {sender.post(body).answer for body in bodies} == {200}
        with closing(redis.Redis.from_url(tls.url(1, tls.ca))) as client, system.database() as database:
            profiles = (
                "SELECT count(*) FROM profile_cache WHERE first_name IS NOT NULL OR user_provided_name IS NOT NULL"
            )
            seconds_until(lambda: client.exists(*(f"profile:user:{key}" for key in people(database))) > 0, 20)
            assert database.execute(profiles).fetchone() != (0,)
            # The worker receives tasks.
            seconds_until(
                lambda: database.execute("SELECT EXISTS (SELECT FROM monitoring_keptfigure)").fetchone() == (True,),
                90,
            )
    finally:
        assert system.stop() == []


def people(database: object) -> list[str]:
    rows = database.execute("SELECT user_id FROM profile_cache").fetchall()  # type: ignore[attr-defined]
    return [user_id for (user_id,) in rows] or ["none"]


_CACHE = """
from django.utils import translation
from profiles import cache, failures
with translation.override("en"):
    print(failures.message_for(cache.health()["last_error"]))
"""


@pytest.mark.parametrize(
    ("ca", "name"), [("other", "certificate not trusted"), ("missing", "certificate file not found")]
)
def test_a_fault_of_the_certificate_is_named(tls: Tls, ca: str, name: str) -> None:
    url = tls.url(1, tls.ca.with_name(f"{ca}.pem"))
    assert name in manage("shell", "--no-imports", "--command", _CACHE, REDIS_URL=url)
    (line,) = [text for text in manage("health", CELERY_BROKER_URL=url).splitlines() if text.startswith("broker")]
    assert name in line


def test_without_a_ca_that_of_the_system_applies(tls: Tls) -> None:
    assert "certificate not trusted" in manage("health", CELERY_BROKER_URL=tls.url(2, None))


def manage(*arguments: str, **urls: str) -> str:
    """Return the output of a command of manage.py, in English, with the stores of the tests but for these URLs."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"} | urls
    argv = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(argv, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout + done.stderr
