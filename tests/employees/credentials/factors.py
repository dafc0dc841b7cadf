"""Second factors as an authenticator app has them."""

import re
import time

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.contrib.auth.models import User
from django.test import Client

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
PASSWORD = "right-pass-word"
SET_UP, AGAIN, CODE = "/admin/second-factor/set-up/", "/admin/second-factor/code/", "/admin/login/code/"


def code(secret: str = SECRET, steps: int = 0) -> str:
    """Return the code of the app, or the one that it shows so many half minutes later."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps)))


def enrol(user: User) -> list[str]:
    """Give the account a second factor; return its recovery codes."""
    TOTP.activate(user, SECRET)
    return list(RecoveryCodes.activate(user).generate_codes())


def factors(user: User) -> list[str]:
    return sorted(Authenticator.objects.filter(user=user).values_list("type", flat=True))


def password(client: Client, name: str = "anna", path: str = "/admin/login/") -> str:
    """Give the right password; return where the browser is sent."""
    return str(client.post(path, {"username": name, "password": PASSWORD})["Location"])


def key_on(page: str) -> str:
    """Return the key that the page of the enrolment shows."""
    found = re.search(r">([A-Z2-7]{32})<", page)
    assert found, page
    return found[1]
