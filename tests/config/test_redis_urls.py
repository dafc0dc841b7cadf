"""Forms of Redis URLs: sockets, TLS and Sentinel, for redis-py and for Celery."""

import ssl

import pytest

from config.env import broker_url, redis_url
from config.lib import redis_connection
from config.lib.redis_connection import celery_settings, sentinels

URL = "redis+sentinel://us%40er:p%2Fw@s1,s2.example.ru:26380,[fd00::1]:26381/MyCache/3?sentinel_password=s%40"
HOSTS = [("s1", 26379), ("s2.example.ru", 26380), ("fd00::1", 26381)]


def test_it_reads_sentinels() -> None:
    found = sentinels(URL)
    assert found
    assert (found.hosts, found.service) == (HOSTS, "MyCache")
    assert found.server == {"username": "us@er", "password": "p/w", "db": 3}
    assert found.sentinel == {"username": None, "password": "s@"}


def test_a_pool_asks_the_sentinels_for_the_primary() -> None:
    pool = redis_connection.pool(URL, socket_timeout=0.5)
    own = pool.sentinel_manager.sentinels[1].connection_pool.connection_kwargs  # type: ignore[attr-defined]
    assert (own["host"], own["port"], own["password"], own["socket_timeout"]) == ("s2.example.ru", 26380, "s@", 0.5)
    assert (pool.connection_kwargs["username"], pool.connection_kwargs["db"]) == ("us@er", 3)


def test_tls_holds_for_the_servers_and_the_sentinels() -> None:
    found = sentinels("rediss+sentinel://:pw@s1/queue?ssl_ca_certs=/ca.pem")
    assert found
    assert found.server == {"password": "pw", "ssl": True, "ssl_ca_certs": "/ca.pem"}
    assert found.sentinel == {"username": None, "password": None, "ssl": True, "ssl_ca_certs": "/ca.pem"}
    settings = celery_settings("rediss+sentinel://:pw@s1/queue?ssl_ca_certs=/ca.pem", 2)
    assert settings["CELERY_BROKER_USE_SSL"] == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"}


def test_celery_gets_its_own_form() -> None:
    settings = celery_settings(URL, 2)
    login = "sentinel://us%40er:p%2Fw@"
    assert (
        settings["CELERY_BROKER_READ_URL"] == f"{login}s1:26379/3;{login}s2.example.ru:26380/3;{login}[fd00::1]:26381/3"
    )
    options = settings["CELERY_BROKER_TRANSPORT_OPTIONS"]
    assert (options["master_name"], options["sentinel_kwargs"]["password"]) == ("MyCache", "s@")
    assert settings["CELERY_BROKER_USE_SSL"] is None


@pytest.mark.parametrize(("url", "is_verified_here"), [
    ("rediss://h:1/2", True), ("rediss://h:1/2?ssl_ca_certs=/ca.pem", False), ("redis://h/2", False),
    ("redis+socket:///tmp/s?virtual_host=2", False),
])  # fmt: skip
def test_a_url_without_options_for_tls_gets_them(url: str, is_verified_here: bool) -> None:
    settings = celery_settings(url, 2)
    assert bool(settings["CELERY_BROKER_USE_SSL"]) == is_verified_here


@pytest.mark.parametrize("url", [
    "redis+sentinel://s1/", "redis+sentinel:///cache/1", "redis+sentinel://s1:x/cache/1", "redis+sentinel://s1/cache/x",
    "sentinel://s1:26379/1", "http://s1",
])  # fmt: skip
def test_it_refuses_other_urls(url: str) -> None:
    for check in (redis_url, broker_url):
        with pytest.raises(ValueError, match=r".+"):
            check(url)


def test_one_server_is_recognised_by_its_address() -> None:
    same = ("redis://:a@h:6379/1", "redis://h/2")
    assert len({redis_connection.address(url) for url in same}) == 1
    assert redis_connection.address("redis+sentinel://b,a/x/1") == redis_connection.address("redis+sentinel://a,b/x/2")
    assert redis_connection.address("redis+sentinel://a/x/1") != redis_connection.address("redis+sentinel://a/y/1")
    assert redis_connection.address("redis+socket:///tmp/s?virtual_host=2") == ("/tmp/s", 6379)  # noqa: S108
