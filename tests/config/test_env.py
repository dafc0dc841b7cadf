from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.env import (
    GUIDE_SECRET,
    Env,
    broker_url,
    database,
    format_duration,
    hours,
    parse_duration,
    redis_address,
    redis_url,
    refuse_unsafe_production,
)

KEY, SECRET, HOSTS = "secret-key" * 5, "s" * 16, ["example.org"]


@pytest.mark.parametrize(
    ("text", "hours"), [("720h", 720), ("1h30m", 1.5), ("90m", 1.5), ("3600s", 1), ("0.5h", 0.5), ("3600000ms", 1)]
)
def test_it_reads_gos_durations(text: str, hours: float) -> None:
    assert parse_duration(text) == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("720h", "30 days"),
        ("24h", "1 day"),
        ("1h30m", "1 hour 30 minutes"),
        ("61s", "1 minute 1 second"),
        ("500ms", "0.5 seconds"),
        ("0s", "0 seconds"),
    ],
)
def test_it_writes_durations_in_words(text: str, words: str) -> None:
    assert format_duration(parse_duration(text)) == words


@pytest.mark.parametrize("text", ["", "720", "h", "-1h", "1d", "1h ", "1h30"])
def test_it_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_it_reads_a_database_url_over_a_socket() -> None:
    entry = database("postgresql://postgres@:5432/directory?host=/srv/a%20b&application_name=x&connect_timeout=5")
    assert (entry["NAME"], entry["USER"], entry["HOST"], entry["PORT"]) == ("directory", "postgres", "/srv/a b", 5432)
    assert (entry["OPTIONS"]["application_name"], entry["OPTIONS"]["connect_timeout"]) == ("x", 5)
    assert entry["ENGINE"] == "config.postgres"


def test_it_reads_a_database_url_over_the_network() -> None:
    entry = database("postgres://us%40er:p%2Fa%23ss@db.example.org/directory?sslmode=verify-full")
    assert (entry["USER"], entry["PASSWORD"], entry["HOST"]) == ("us@er", "p/a#ss", "db.example.org")
    assert entry["OPTIONS"]["sslmode"] == "verify-full"


@pytest.mark.parametrize(
    ("hosts", "host", "port"),
    [
        ("db1:6000,db2:6001", "db1,db2", "6000,6001"),
        ("db1:6000,db2", "db1,db2", "6000,"),
        ("db1,db2:6001", "db1,db2", ",6001"),
        ("[fd00::1]:6000,db2", "fd00::1,db2", "6000,"),
    ],
)
def test_of_several_database_hosts_the_primary_is_used(hosts: str, host: str, port: str) -> None:
    entry = database(f"postgresql://us%40er:p%2Fw@{hosts}/directory?sslmode=require")
    assert (entry["HOST"], entry["PORT"], entry["USER"], entry["PASSWORD"]) == (host, port, "us@er", "p/w")
    assert entry["OPTIONS"]["target_session_attrs"] == "read-write"
    assert database("postgresql:///directory?host=/a,/b")["OPTIONS"]["target_session_attrs"] == "read-write"
    url = "postgresql://db1,db2/directory?target_session_attrs=any"
    assert database(url)["OPTIONS"]["target_session_attrs"] == "any"
    assert "target_session_attrs" not in database("postgresql://db1/directory")["OPTIONS"]


def test_it_refuses_several_hosts_with_an_invalid_port() -> None:
    with pytest.raises(ValueError, match="not a PostgreSQL URL"):
        database("postgresql://db1:port,db2:1:2/directory?x=%")


def test_a_database_host_that_vanished_is_noticed_soon() -> None:
    """By the kernel's defaults, a process that waits for an answer would wait for two hours."""
    options = database("postgres://db.example.org/directory")["OPTIONS"]
    assert options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"] < 30
    assert database("postgres://db.example.org/directory?keepalives_idle=60")["OPTIONS"]["keepalives_idle"] == 60


def test_a_blank_value_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for blank in (" ", "", None):
        monkeypatch.delenv("X", raising=False)
        if blank is not None:
            monkeypatch.setenv("X", blank)
        env = Env()
        read = (
            env.bool("X", default=True),
            env.int("X", default=3),
            env.float_up_to("X", 1, 0.5),
            env.str("X", "text"),
        )
        assert read == (True, 3, 0.5, "text")
        assert env.list("X") == []
        assert env.read("X", parse_duration, "1h") == timedelta(hours=1)


@pytest.mark.parametrize(("word", "value"), [("true", True), ("On", True), ("1", True), ("FALSE", False), ("0", False)])
def test_true_and_false(monkeypatch: pytest.MonkeyPatch, word: str, value: bool) -> None:
    monkeypatch.setenv("X", word)
    assert Env().bool("X", default=not value) is value


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (lambda env, name: env.bool(name, default=True), "maybe"),
        (lambda env, name: env.bool(name, default=True), "2"),
        (lambda env, name: env.int(name, default=1), "abc"),
        (lambda env, name: env.int(name, default=1), "1.5"),
        (lambda env, name: env.int(name, default=1), "-1"),
        (lambda env, name: env.float_up_to(name, 1, 0.8), "80"),
        (lambda env, name: env.float_up_to(name, 1, 0.8), "nan"),
        (lambda env, name: env.float_up_to(name, 1, 0.8), "0.8x"),
        (lambda env, name: env.float_up_to(name, 1, 0.8), "-0.8"),
        (lambda env, name: env.float_up_to(name, 100, 0), "100.5"),
        (lambda env, name: env.read(name, parse_duration, "3s"), "3 seconds"),
        (lambda env, name: env.read(name, hours, "8-20"), "20-8"),
        (lambda env, name: env.read(name, database, "postgresql://"), "mysql://root:secret@localhost/x"),
        (lambda env, name: env.read(name, database, "postgresql://"), "postgresql://root:secret@host:port/x"),
        (lambda env, name: env.read(name, database, "postgresql://"), "secret"),
        (lambda env, name: env.read(name, Env.email_url_config, "smtp://"), "nonsense"),
        (lambda env, name: env.read(name, redis_url, "redis://"), "foo"),
        (lambda env, name: env.read(name, redis_url, "redis://"), "redis://host:port/1"),
        (lambda env, name: env.read(name, redis_address, "host"), "host:port"),
        (lambda env, name: env.read(name, broker_url, "redis://"), "foo"),
        (lambda env, name: env.read(name, broker_url, "redis://"), "redis+socket://["),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, reader: Callable[[Env, str], object], text: str
) -> None:
    monkeypatch.setenv("SOME_VARIABLE", text)
    with pytest.raises(ImproperlyConfigured, match="SOME_VARIABLE is not ") as refused:
        reader(Env(), "SOME_VARIABLE")
    assert f" {text}" not in str(refused.value)
    assert "secret" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize("url", ["redis://host/1", "redis+socket:///a?virtual_host=1", "amqp://host"])
def test_a_queue_is_a_server_that_celery_knows(url: str) -> None:
    assert broker_url(url) == url


def test_hours_of_a_day() -> None:
    assert hours("8-20") == (8, 20)
    assert hours("0-24") == (0, 24)


@pytest.mark.parametrize("text", ["", "8", "20-8", "8-8", "8-25", "8:00-20:00", "-8-20", "8–20"])
def test_it_refuses_hours_that_no_day_has(text: str) -> None:
    with pytest.raises(ValueError, match="hours of a day"):
        hours(text)


def refuse(key: str, secrets: str, hosts: list[str]) -> None:
    class Given(Env):
        ENVIRON = {"WEBHOOK_SECRET": secrets}

    refuse_unsafe_production(key, Given().list("WEBHOOK_SECRET"), hosts, "https://localhost")


def test_strong_secrets_start() -> None:
    refuse(KEY, f"{SECRET}, other-secret-0000,", HOSTS)


@pytest.mark.parametrize(
    ("key", "secret", "hosts", "variable"),
    [
        ("", SECRET, HOSTS, "SECRET_KEY"),
        (" " * 60, SECRET, HOSTS, "SECRET_KEY"),
        (KEY[1:], SECRET, HOSTS, "SECRET_KEY"),
        ("k" * 50, SECRET, HOSTS, "SECRET_KEY"),
        ("django-insecure-" + KEY, SECRET, HOSTS, "SECRET_KEY"),
        (KEY, "", HOSTS, "WEBHOOK_SECRET"),
        (KEY, " , ", HOSTS, "WEBHOOK_SECRET"),
        (KEY, "s" * 15, HOSTS, "WEBHOOK_SECRET"),
        (KEY, f"{SECRET},short", HOSTS, "WEBHOOK_SECRET"),
        (KEY, "s" * 15 + "é", HOSTS, "WEBHOOK_SECRET"),
        (KEY, GUIDE_SECRET, HOSTS, "WEBHOOK_SECRET"),
        (KEY, SECRET, [], "ALLOWED_HOSTS"),
        (KEY, SECRET, ["a", "*"], "ALLOWED_HOSTS"),
    ],
)
def test_it_refuses_weak_ones_and_never_prints_them(key: str, secret: str, hosts: list[str], variable: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=variable) as refused:
        refuse(key, secret, hosts)
    values = [value for value in (key.strip(), secret.strip(" ,")) if len(value) > 3]
    assert not any(value in str(refused.value) for value in values)


def test_a_secret_may_begin_with_a_dollar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "$ecret-of-16-letters, $other")
    assert Env().str("WEBHOOK_SECRET", "") == "$ecret-of-16-letters, $other"
    assert Env().list("WEBHOOK_SECRET") == ["$ecret-of-16-letters", "$other"]
