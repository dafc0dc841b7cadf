import getpass
import os


def login() -> str:
    """Return the login of the user who runs this command, or ``uid N`` where it has no name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def user() -> str:
    """Return the login as audit rows show it, beside users of the admin and the API."""
    return f"{login()} (manage.py)"
