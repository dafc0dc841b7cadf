import getpass
import os

from django.utils.translation import gettext

from config.lib.text import clean

_BY_COMMAND = " (manage.py)"


def login() -> str:
    """Return the login of the user who runs this command, or ``uid N`` for a uid without a name (in containers)."""
    try:
        return clean(getpass.getuser())
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def user() -> str:
    """Return the login of the user who runs this command, followed by “(manage.py)”, for audit rows.

    The suffix distinguishes this user from the users of the admin and the API.
    """
    return f"{login()}{_BY_COMMAND}"


def displayed(by: str) -> str:
    """Return a user's name from an audit row as pages show it: “(command)”, translated, replaces “(manage.py)”."""
    return by.removesuffix(_BY_COMMAND) + f" ({gettext('command')})" if by.endswith(_BY_COMMAND) else by
