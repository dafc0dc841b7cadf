"""Who types a command."""

import getpass
import os


def user() -> str:
    """Return the user of this shell, for the audit."""
    try:
        return f"{getpass.getuser()} (manage.py)"
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid {os.getuid()} (manage.py)"
