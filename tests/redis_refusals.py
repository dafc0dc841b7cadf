"""States in which a Redis-compatible server answers reads and refuses writes."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import redis


@contextmanager
def replica(client: redis.Redis) -> Iterator[None]:
    client.replicaof("127.0.0.1", "1")
    try:
        yield
    finally:
        client.replicaof("NO", "ONE")


@contextmanager
def too_few_replicas(client: redis.Redis) -> Iterator[None]:
    client.config_set("min-replicas-to-write", 1)
    try:
        yield
    finally:
        client.config_set("min-replicas-to-write", 0)


@contextmanager
def full_memory(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "allkeys-lru")


@contextmanager
def failing_snapshots(client: redis.Redis) -> Iterator[None]:
    # A folder in place of the snapshot: not even root can write the file.
    folder = Path(str(client.config_get("dir")["dir"]), "dump.rdb")
    folder.unlink(missing_ok=True)
    folder.mkdir()
    try:
        client.config_set("save", "3600 1")
        client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] != "err":
            time.sleep(0.01)
        yield
    finally:
        folder.rmdir()
        client.config_set("save", "")
        client.save()
        folder.unlink()


REFUSALS: dict[str, tuple[Callable[[redis.Redis], AbstractContextManager[None]], str]] = {
    "READONLY": (replica, "read-only replica"),
    "NOREPLICAS": (too_few_replicas, "too few replicas, writes are refused"),
    "OOM": (full_memory, "out of memory"),
    "MISCONF": (failing_snapshots, "snapshots fail, writes are refused"),
}
