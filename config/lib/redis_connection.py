"""Connections to Redis, also over TLS or Sentinel, that store the run ID of their server."""

import re
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from django_redis.pool import ConnectionFactory as DjangoRedisFactory
from redis import ConnectionPool, Redis, ResponseError, Sentinel, SentinelConnectionPool, exceptions
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from config.lib import tracing

# The key of the rate limits (config.lib.http.throttling), a sorted set, in the same database as the cached profiles.
LIMITS = "limits"
_SENTINEL_URL = re.compile(r"(rediss?)\+sentinel://([^@/?]*@)?([^@/?]+)/([^/?]+)((?:/\d*)?(?:\?.*)?)")
_SENTINEL_PORT = 26379
_LIMITS = ("socket_timeout", "socket_connect_timeout", "retry")
# Errors in the set-up of TLS, which redis-py reports as a failed connection.
_CAUSES = (ssl.SSLCertVerificationError, FileNotFoundError)
# Longer than any value of ours: three names of 100 characters, each of six bytes if escaped, and an ID of 64.
_LONGEST = 4096
# Returned in place of a value that is no string. It is neither JSON nor a run ID.
_OTHER_TYPE = b"\0"
_RUN_ID = re.compile(rb"run_id:([0-9A-Za-z]+)")


_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def time_limit(seconds: float, *, is_extra: bool = False) -> Iterator[None]:
    """Limit the total time that the commands in the block wait for Redis, including the time to open connections.

    Without this limit, each round trip may take as long as the timeout of its connection. Within another block, the
    limit of the outer block applies too, unless ``is_extra`` is true.
    """
    outer, ends_at = None if is_extra else _deadline.get(), time.monotonic() + seconds
    token = _deadline.set(ends_at if outer is None else min(outer, ends_at))
    try:
        yield
    finally:
        _deadline.reset(token)


def _at_most(timeout: float) -> float:
    """Return the timeout, but at most the time until the deadline; raise exceptions.TimeoutError after the deadline."""
    deadline = _deadline.get()
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise exceptions.TimeoutError("no time is left for Redis")
    return min(timeout, left)


@cache
def _within_time_limit(connection_class: type[Any]) -> type[Any]:
    """Return a subclass of the connection class that obeys ``time_limit``."""

    class Connection(connection_class):  # type: ignore[misc]
        socket_connect_timeout: float

        def _connect(self) -> socket.socket:
            timeout = self.socket_connect_timeout
            self.socket_connect_timeout = _at_most(timeout)
            try:
                connected: socket.socket = super()._connect()
                return connected
            finally:
                self.socket_connect_timeout = timeout

        def read_response(self, *args: Any, **options: Any) -> Any:
            if _deadline.get() is None or self._sock is None:
                return super().read_response(*args, **options)
            try:
                self._sock.settimeout(_at_most(self.socket_timeout))
                return super().read_response(*args, **options)
            except exceptions.TimeoutError:
                self.disconnect()
                raise
            finally:
                if self._sock is not None:
                    self._sock.settimeout(self.socket_timeout)

    return Connection


def connect(connection: Any) -> None:
    """Prepare a new connection and store the server's run ID in its attribute ``run_id``; ``b""`` if there is none.

    A restart or a failover of the server closes every connection. As long as a connection is open, the run ID is
    current, and the server has not lost the contents of its memory.
    """
    # Closing the connection, as after a timeout, discards what has not been sent, which could arrive minutes later.
    connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # noqa: SLF001 (no other way)
    connection.on_connect()
    connection.send_command("INFO", "server")
    info = connection.read_response()
    found = _RUN_ID.search(info if isinstance(info, bytes) else str(info).encode())
    connection.run_id = found[1] if found else b""


def values(client: Redis, keys: Iterable[str]) -> tuple[bytes, list[bytes]]:
    """Return the server's run ID and the values of the keys: at most _LONGEST bytes each, ``b""`` for a missing key.

    The cost does not depend on the size or type of a value.
    """
    return send(client, map(get, keys))


def get(key: str) -> tuple[Any, ...]:
    """Return the Redis command with which ``values`` reads a key."""
    return "GETRANGE", key, 0, _LONGEST


def send(client: Redis, commands: Iterable[tuple[Any, ...]]) -> tuple[bytes, list[Any]]:
    """Send the commands to one server in a single round trip; return the server's run ID and its replies."""
    commands = list(commands)
    # The client's pipeline costs more, and hides the connection.
    connection: Any = client.connection_pool.get_connection()
    try:
        with tracing.redis_commands([command[0] for command in commands]):
            connection.send_packed_command(connection.pack_commands(commands))
            return connection.run_id, [_reply(connection) for _ in commands]
    except BaseException:
        # Otherwise, the next command would get the replies that were not read.
        connection.disconnect()
        raise
    finally:
        client.connection_pool.release(connection)


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as refusal:
        if str(refusal).startswith("WRONGTYPE"):
            return _OTHER_TYPE
        raise


class Sentinels(NamedTuple):
    """The way to reach a Redis service through Sentinel.

    ``hosts`` are the addresses of Sentinel. ``server`` holds the options for connections to the service, ``sentinel``
    those for connections to Sentinel.
    """

    hosts: list[tuple[str, int]]
    service: str
    server: dict[str, Any]
    sentinel: dict[str, Any]


def sentinels(url: str) -> Sentinels | None:
    """Parse the URL of a Redis service that Sentinel monitors; return None for any other URL.

    Its form is ``redis+sentinel://user:password@host:port,host:port/service/database``, or ``rediss+sentinel`` with
    TLS. The hosts belong to Sentinel, user and password to the service. The query parameters ``sentinel_username`` and
    ``sentinel_password`` are for Sentinel itself. Raise ValueError if the database or an option is not a valid number.
    """
    match = _SENTINEL_URL.fullmatch(url)
    if not match:
        return None
    scheme, login, hosts, service, rest = match.groups()
    # The host is a placeholder: parse_url would write a service name in its place in lower case.
    server: dict[str, Any] = parse_url(f"{scheme}://{login or ''}service{rest}")  # type: ignore[no-untyped-call]
    for name in ("host", "connection_class"):
        server.pop(name, None)
    sentinel = {name: server.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    if scheme == "rediss":
        server["ssl"] = True
    sentinel |= {name: value for name, value in server.items() if name.startswith("ssl")}
    return Sentinels([_address(host) for host in hosts.split(",")], service, server, sentinel)


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "", parts.port or _SENTINEL_PORT


def plain(url: str) -> str:
    """Return the URL in redis-py's form, which differs from Celery's form for Unix sockets."""
    return url.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")


def address(url: str) -> tuple[object, ...]:
    """Return a tuple that is equal for URLs of the same server: the service and its Sentinels, or the host and port."""
    if found := sentinels(url):
        return found.service, *sorted(found.hosts)
    parts = parse_url(plain(url))  # type: ignore[no-untyped-call]
    return parts.get("path") or parts.get("host"), parts.get("port", 6379)


def pool(url: str, **options: Any) -> ConnectionPool:
    """Return a pool of connections to the server of a URL.

    With Sentinel, each new connection first asks Sentinel for the address of the primary.
    """
    # By default, each new connection sends the client library's name and version, in two round trips.
    options = {"driver_info": None} | options
    found = sentinels(url)
    if found is None:
        made = ConnectionPool.from_url(plain(url), **options)
        made.connection_class = _within_time_limit(made.connection_class)
        return made
    limits = {name: options[name] for name in _LIMITS if name in options}
    manager = Sentinel(found.hosts, sentinel_kwargs=found.sentinel | limits)  # type: ignore[no-untyped-call]
    made = SentinelConnectionPool(found.service, manager, **found.server | options)  # type: ignore[no-untyped-call]
    made.connection_class = _within_time_limit(made.connection_class)
    return made


def client(url: str, *, seconds: float, **options: Any) -> Redis:
    """Return a client for the server of a URL; it waits at most ``seconds`` for each answer.

    The caller has to close it.
    """
    limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": Retry(NoBackoff(), 0)}
    return Redis.from_pool(pool(url, **limits, **options))


class ConnectionFactory(DjangoRedisFactory):  # type: ignore[misc]
    def get_connection_pool(self, params: dict[str, Any]) -> ConnectionPool:
        return pool(params["url"], **self.pool_cls_kwargs)


def celery_settings(url: str, seconds: float) -> dict[str, Any]:
    """Return Celery's settings for the broker at CELERY_BROKER_URL; ``seconds`` limits each wait for Redis."""
    options: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    found = sentinels(url)
    tls = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    if found is None:
        # Without an option for TLS in the URL, Kombu would connect without TLS.
        needs_tls = url.startswith("rediss://") and "ssl_" not in url
        return {
            "CELERY_BROKER_TRANSPORT_OPTIONS": options,
            "CELERY_BROKER_USE_SSL": tls if needs_tls else None,
        }
    user, password = (quote(found.server.get(name) or "", safe="") for name in ("username", "password"))
    login = f"{user}:{password}@" if password else ""
    hosts = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in found.hosts]
    tls |= {name: value for name, value in found.server.items() if name.startswith("ssl_")}
    options |= {"master_name": found.service, "sentinel_kwargs": found.sentinel | options}
    celery_url = ";".join(f"sentinel://{login}{host}/{found.server.get('db', 0)}" for host in hosts)
    return {
        # Celery does not know the form of CELERY_BROKER_URL, but prefers these two.
        "CELERY_BROKER_READ_URL": celery_url,
        "CELERY_BROKER_WRITE_URL": celery_url,
        "CELERY_BROKER_TRANSPORT_OPTIONS": options,
        "CELERY_BROKER_USE_SSL": tls if "ssl" in found.server else None,
    }


def error_name(error: BaseException) -> str:
    """Return the class name of an error, or of its cause if the cause is an untrusted certificate or a missing file."""
    cause = error.__cause__ or error.__context__
    return type(cause if isinstance(cause, _CAUSES) else error).__name__
