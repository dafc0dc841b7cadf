"""The whole system with a cache and a task queue over TLS, as an ACL user; and the name of a certificate's fault."""

import os
import subprocess
import sys
import time
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
UPDATES = 500
_FINISHED = "SELECT count(*) FROM webhook_inbox WHERE state <> 'pending'"
_IS_MEASURED = "SELECT EXISTS (SELECT FROM monitoring_keptfigure)"
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
        started = time.monotonic()
        with closing(Sender(system)) as sender:
            assert {sender.post(body).answer for body in random_bodies(UPDATES)} == {200}
        with closing(redis.Redis.from_url(tls.url(1, tls.ca))) as client, system.database() as database:
            seconds_until(lambda: database.execute(_FINISHED).fetchone() == (UPDATES,), 60)
            keys = [f"profile:user:{user_id}" for (user_id,) in database.execute("SELECT user_id FROM profile_cache")]
            assert keys
            seconds_until(lambda: client.exists(*keys) == len(keys), 60)
            seconds = time.monotonic() - started
            # The worker receives tasks.
            measured = seconds_until(lambda: database.execute(_IS_MEASURED).fetchone() == (True,), 90)
    finally:
        assert system.stop() == []
    print(  # noqa: T201
        f"Redis over TLS: {UPDATES} updates, 0 lost, {len(keys)} profiles in the cache after {seconds:.1f} s; "
        f"first tasks {measured:.1f} s later"
    )


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
