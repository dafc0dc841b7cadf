import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.dev.processes import BASE_DIR
from config.env import (
    GUIDE_SECRET,
    Env,
    boolean,
    broker_url,
    database,
    email,
    hours,
    in_words,
    number,
    parse_duration,
    redis_url,
    refuse_weak_production,
    whole,
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
    assert in_words(parse_duration(text)) == words


@pytest.mark.parametrize("text", ["", "720", "h", "-1h", "1d", "1h ", "1h30"])
def test_it_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_it_reads_a_database_url_over_a_socket() -> None:
    entry = database("postgresql://postgres@/directory?host=/srv/a%20b&application_name=x")
    assert (entry["NAME"], entry["USER"], entry["HOST"]) == ("directory", "postgres", "/srv/a b")
    assert entry["OPTIONS"]["application_name"] == "x"


def test_it_refuses_what_is_no_database_url() -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        database("mysql://root:secret@localhost/x")


def test_a_blank_value_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", " ")
    assert (boolean(Env(), "X", True), whole(Env(), "X", 3), number(Env(), "X", 0.5)) == (True, 3, 0.5)
    monkeypatch.delenv("X")
    assert (boolean(Env(), "X", True), whole(Env(), "X", 3), number(Env(), "X", 0.5)) == (True, 3, 0.5)


@pytest.mark.parametrize(("word", "value"), [("true", True), ("On", True), ("1", True), ("FALSE", False), ("0", False)])
def test_true_and_false(monkeypatch: pytest.MonkeyPatch, word: str, value: bool) -> None:
    monkeypatch.setenv("X", word)
    assert boolean(Env(), "X", not value) is value


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (partial(boolean, default=True), "maybe"),
        (partial(whole, default=1), "abc"),
        (partial(whole, default=1), "1.5"),
        (partial(whole, default=1), "-1"),
        (partial(number, default=0.8, most=1), "80"),
        (partial(number, default=0.8, most=1), "nan"),
        (lambda env, name: email(name, env.str(name)), "nonsense"),
        (lambda env, name: redis_url(name, env.str(name)), "foo"),
        (lambda env, name: redis_url(name, env.str(name)), "redis://host:port/1"),
        (lambda env, name: broker_url(name, env.str(name)), "foo"),
        (lambda env, name: broker_url(name, env.str(name)), "redis+socket://["),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, reader: Callable[[Env, str], object], text: str
) -> None:
    monkeypatch.setenv("SOME_VARIABLE", text)
    with pytest.raises(ImproperlyConfigured, match="SOME_VARIABLE"):
        reader(Env(), "SOME_VARIABLE")


@pytest.mark.parametrize("url", ["redis://host/1", "redis+socket:///a?virtual_host=1", "amqp://host"])
def test_a_queue_is_a_server_that_celery_knows(url: str) -> None:
    assert broker_url("X", url) == url


def test_hours_of_a_day() -> None:
    assert hours("X", "8-20") == (8, 20)
    assert hours("X", "0-24") == (0, 24)


@pytest.mark.parametrize("text", ["", "8", "20-8", "8-8", "8-25", "8:00-20:00", "-8-20", "8–20"])
def test_it_refuses_hours_that_no_day_has(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="X"):
        hours("X", text)


def test_strong_secrets_start() -> None:
    refuse_weak_production(KEY, f"{SECRET}, other-secret-0000", HOSTS)


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
        refuse_weak_production(key, secret, hosts)
    values = [value for value in (key.strip(), secret.strip(" ,")) if len(value) > 3]
    assert not any(value in str(refused.value) for value in values)


def test_a_secret_may_begin_with_a_dollar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "$ecret-of-16-letters")
    assert Env().str("WEBHOOK_SECRET", "") == "$ecret-of-16-letters"


def test_an_empty_url_in_the_env_file_leaves_it_to_services_env(tmp_path: Path) -> None:
    """As in a copy of .env.example, beside a running `make run`."""
    (tmp_path / "env").write_text("DATABASE_URL=\nREDIS_URL=\nDEBUG=true\n")
    (tmp_path / "services.env").write_text("DATABASE_URL=postgresql:///here\nREDIS_URL=redis://there/1\n")
    code = "from config import settings as s; print(s.DATABASES['default']['NAME'], s.REDIS_URL)"
    environment = {"PATH": os.environ["PATH"], "ENV_FILE": str(tmp_path / "env"), "DATA_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=BASE_DIR, env=environment, capture_output=True, text=True)  # noqa: S603, PLW1510
    assert (done.stdout, done.stderr) == ("here redis://there/1\n", "")
