"""A running system whose REDIS_URL leads to another Redis, and then back to the first one, which has old entries."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from config.dev import embedded
from tests.chaos.system import System
from tests.chaos.test_redis_with_old_entries import NEW, OLD, Api, Reader, change, check
from tests.servers import FaultyServer
from tests.slow_proxy import SlowProxy
from tests.waiting import seconds_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow")]

ERASED, RENAMED = "2001", "2002"


@pytest.fixture
def redis_servers(tmp_path: Path) -> Iterator[list[redis.Redis]]:
    """Return clients of two caches and a broker that know nothing of each other."""
    env = embedded.environment(tmp_path)
    with ExitStack() as stopping:
        clients = []
        for name in ("first", "second", "broker"):
            child = embedded.valkey_cache(tmp_path / name, tmp_path / f"{name}.log", env, {"REDIS_SAVE_INTERVAL": ""})
            server = FaultyServer(child)
            server.start()
            stopping.callback(server.stop)
            clients.append(redis.Redis.from_url(server.url))
        yield clients


def address(client: redis.Redis) -> tuple[str, int]:
    return "127.0.0.1", int(client.connection_pool.connection_kwargs["port"])


def is_renamed(client: redis.Redis) -> bool:
    text = client.get(f"profile:user:{RENAMED}")
    return isinstance(text, bytes) and NEW in text.decode()


@pytest.mark.timeout(400)
def test_back_to_the_first_server(redis_servers: list[redis.Redis]) -> None:
    first, second, broker = redis_servers
    proxy = SlowProxy(address(first))
    system = System(
        DEBUG="true",
        REDIS_URL=f"redis://127.0.0.1:{proxy.port}/1",
        CELERY_BROKER_URL="redis://{}:{}/2".format(*address(broker)),
    )
    try:
        system.start()
        api = Api(system)
        api.log_in()
        seconds_until(lambda: api.ready()["status"] == "ok", 60)
        for user_id in (ERASED, RENAMED):
            names = {"max_first_name": OLD, "max_last_name": ""}
            assert api.request("PUT", f"/profiles/{user_id}", names)[0] == 200
        seconds_until(lambda: first.exists(f"profile:user:{ERASED}", f"profile:user:{RENAMED}") == 2, 30)
        proxy.switch(address(second))
        seconds_until(lambda: bool(second.exists("profiles:token", f"profile:user:{ERASED}") == 2), 30)
        with Reader(api, ERASED, RENAMED) as reader:
            change(reader)
            with system.database() as database:
                # As if its second pass had ended long ago.
                database.execute("UPDATE tombstones SET unfinished_id = ''")
            time.sleep(2)
            proxy.switch(address(first))
            assert first.exists(f"profile:user:{ERASED}", f"profile:user:{RENAMED}") == 2
            assert seconds_until(lambda: is_renamed(first), 30) < 10
            time.sleep(3)
        check(reader)
        seconds_until(lambda: not first.exists(f"profile:user:{ERASED}"), 30)
    finally:
        assert system.stop() == []
        proxy.close()
