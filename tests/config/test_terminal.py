"""The lines that `make run` prints to be pasted."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from config.dev.launch import Launch
from config.dev.terminal import show_ready

SERVED: dict[str, Any] = {"percents": [100, 100, 100, 0], "stage": 3, "reason": "", "is_collecting": True}


def pasted(capsys: pytest.CaptureFixture[str], **environment: str) -> list[list[str]]:
    show_ready(
        Launch(environment, Path("/data"), "127.0.0.1", 8095, 1, is_development=True), {"token": "T", "rollout": SERVED}
    )
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
    show_ready(launch, {"username": "admin", "is_new": is_new, "rollout": SERVED})
    assert f"  login           {login}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("state", "promise"),
    [
        ({}, "MAX sends a profile, and a new employee gets its name."),
        (
            {"percents": [100, 100, 0, 0], "stage": 2, "reason": "no phase includes this phone yet"},
            "MAX sends a profile, which is stored, and a new employee does not get its name",
        ),
        (
            {"percents": [0, 0, 0, 0], "stage": 0, "is_collecting": False},
            "MAX sends a profile, which is not collected, and a new employee does not get its name",
        ),
    ],
)
def test_it_promises_a_name_only_where_the_rollout_gives_one(
    capsys: pytest.CaptureFixture[str], state: dict[str, Any], promise: str
) -> None:
    launch = Launch({}, Path("/data"), "127.0.0.1", 8095, 1, is_development=True)
    show_ready(launch, {"token": "T", "rollout": SERVED | state})
    shown = capsys.readouterr().out
    assert f"Try it: {promise}\n" in shown
    assert f"phase 3 at {(SERVED | state)['percents'][2]}%" in shown
    if "reason" in state:
        assert f"({state['reason']}): http://127.0.0.1:8095/admin/rollout/" in shown
