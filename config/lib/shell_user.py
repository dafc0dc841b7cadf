"""Who types a command."""

import getpass
import os


def login() -> str:
    """Return the login of this shell's user; the number where it has no name, as in many a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def user() -> str:
    """Return the user of this shell, for an audit whose other rows are of people at the admin and the API."""
    return f"{login()} (manage.py)"
