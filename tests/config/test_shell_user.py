"""Who types a command is recorded with what it did."""

import getpass
import os

import pytest

from config.lib import shell_user


def test_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "maria")
    assert (shell_user.login(), shell_user.user()) == ("maria", "maria (manage.py)")


def test_pages_do_not_name_the_program() -> None:
    names = ["maria (manage.py)", "maria", "(manage.py) maria"]
    assert list(map(shell_user.displayed, names)) == ["maria (command)", "maria", "(manage.py) maria"]


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """Python raises one or the other, by its version."""

    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert shell_user.login() == f"uid {os.getuid()}"
