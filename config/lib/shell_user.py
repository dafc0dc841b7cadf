import getpass
import os

from config.lib.text import clean


def login() -> str:
    """Return the login of the user who runs this command, or ``uid N`` for a uid without a name (in containers)."""
    try:
        return clean(getpass.getuser())
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def user() -> str:
    """Return the name by which audit rows record the user of a command, distinct from users of the admin and API."""
    return f"{login()} (manage.py)"
