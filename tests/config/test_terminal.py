"""The lines that `make run` prints to be pasted."""

import shlex
from pathlib import Path

import pytest

from config.dev.launch import Launch
from config.dev.terminal import show_ready


def pasted(capsys: pytest.CaptureFixture[str], **environment: str) -> list[list[str]]:
    show_ready(Launch(environment, Path("/data"), "127.0.0.1", 8095, 1, is_development=True), {"token": "T"})
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines() if line.startswith("curl")]


def test_it_works(capsys: pytest.CaptureFixture[str]) -> None:
    update, employee = pasted(capsys)
    assert "http://127.0.0.1:8095/webhook/max" in update
    assert not any("Secret" in word for word in update)
    assert "Authorization: Bearer T" in employee


def test_a_secret_that_is_set_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    update, _ = pasted(capsys, WEBHOOK_SECRET=",it's new , old")
    assert "X-Max-Bot-Api-Secret: it's new" in update


@pytest.mark.parametrize(
    ("environment", "is_new", "login"),
    [
        ({}, True, "admin / admin"),
        ({}, False, "admin / admin (unless changed since)"),
        ({"DJANGO_SUPERUSER_PASSWORD": "x"}, True, "admin / the password in DJANGO_SUPERUSER_PASSWORD"),
        ({"DJANGO_SUPERUSER_PASSWORD": "x"}, False, "admin / its earlier password"),
    ],
)
def test_it_shows_how_to_log_in(
    capsys: pytest.CaptureFixture[str], environment: dict[str, str], is_new: bool, login: str
) -> None:
    launch = Launch(environment, Path("/data"), "127.0.0.1", 8095, 1, is_development=True)
    show_ready(launch, {"username": "admin", "is_new": is_new})
    assert f"  login           {login}\n" in capsys.readouterr().out
