"""Decide who needs a second factor, and check codes. django-allauth stores the factors (``Authenticator``)."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING, Any

from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from axes.handlers.proxy import AxesProxyHandler
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.db import transaction
from django.utils.crypto import salted_hmac

from employees.accounts import user_scope

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)
# No code is longer, with the spaces and dashes that people add.
LONGEST_CODE = 30
# In a row, from all addresses together (NIST SP 800-63B, section 5.2.2); the lockout limits each address.
MOST_WRONG_CODES = 100
_APPS_WITH_FIGURES = ("monitoring", "rollout", "waffle")


def is_needed(user: Any) -> bool:
    """Return whether the user needs a second factor; False for everybody if ADMIN_MFA_REQUIRED is off.

    Users in a directory group need one. So do users with any permission other than to view the rollout and statistics,
    including permissions that a later release adds.
    """
    if not settings.ADMIN_MFA_REQUIRED:
        return False
    return user_scope(user).group is not None or not all(map(_shows_figures_only, user.get_all_permissions()))


def _shows_figures_only(permission: str) -> bool:
    app, _dot, codename = permission.partition(".")
    return app in _APPS_WITH_FIGURES and codename.startswith("view_") and codename != "view_audit"


def is_set_up(user: Any) -> bool:
    return bool(Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.TOTP).exists())


def is_proven(request: Any, user: Any) -> bool:
    """Return whether a code was entered in this session.

    Return False for a session that began under an older release, which did not ask for codes.
    """
    return any(record["method"] == "mfa" for record in get_authentication_records(request, user))


def record_proof(request: Any, user: User, factor: Authenticator, **more: bool) -> None:
    record_authentication(request, user, "mfa", id=factor.pk, type=factor.type, **more)


def use_code(request: Any, user: User, code: str) -> Authenticator | None:
    """Use up a code of the authenticator app, or a recovery code; return the factor to which the code belongs.

    Return None if the code is refused.

    A code is refused if it is wrong or has been used before, or if the user name is locked out from this address. A
    refusal counts as a failed log-in, as a wrong password does. Concurrent attempts wait for a lock, so that they
    cannot use the same code or exceed the lockout's limit. After MOST_WRONG_CODES wrong codes in a row, from any
    addresses, only a recovery code is accepted, which also resets this count.
    """
    credentials = {"username": user.get_username()}
    with transaction.atomic():
        factors = list(Authenticator.objects.select_for_update().filter(user_id=user.pk).order_by("pk"))
        if AxesProxyHandler.is_allowed(request, credentials):
            factor = next((factor for factor in factors if _accepts(factor, code)), None)
            _count_wrong_codes(factors, is_wrong=factor is None)
            if factor:
                factor.record_usage()
                return factor
        else:
            request.axes_locked_out = True
        user_login_failed.send(sender=__name__, credentials=credentials, request=request, outcome="wrong_code")
    return None


def _count_wrong_codes(factors: list[Authenticator], *, is_wrong: bool) -> None:
    for factor in factors:
        if factor.type == Authenticator.Type.TOTP:
            factor.data["wrong"] = factor.data.get("wrong", 0) + 1 if is_wrong else 0
            factor.save(update_fields=["data"])


def _accepts(factor: Authenticator, code: str) -> bool:
    try:
        if factor.type != Authenticator.Type.TOTP:
            return bool(factor.wrap().validate_code(code))
        secret = decrypt(factor.data["secret"])
    except InvalidToken:
        logger.error("second factor unreadable", extra={"event": "second_factor_unreadable", "user_pk": factor.user_id})
        return False
    step = step_of(secret, code, after=factor.data.get("step", 0))
    if step is None or factor.data.get("wrong", 0) >= MOST_WRONG_CODES:
        return False
    # Encrypted once more, by the present key; the caller saves it. RFC 6238, section 5.2: a code is accepted once.
    factor.data |= {"secret": encrypt(secret), "step": step}
    return True


def step_of(secret: str, code: str, after: int = 0) -> int | None:
    """Return the TOTP time step of the code; None if the code is wrong.

    Only time steps close to now and later than ``after`` are tried.
    """
    for step in yield_hotp_counters_from_time():
        if step > after and compare_user_code(actual=code, expected=format_hotp_value(hotp_value(secret, step))):
            return int(step)
    return None


def codes_left(user: Any) -> int:
    """Return the number of recovery codes that can be used; 0 if the key that encrypts them is lost."""
    factor = Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.RECOVERY_CODES).first()
    try:
        return len(factor.wrap().get_unused_codes()) if factor else 0
    except InvalidToken:
        return 0


def encrypt(text: str) -> str:
    return _keys().encrypt(text.encode()).decode()


def decrypt(text: str) -> str:
    """Decrypt with the key of SECRET_KEY or of SECRET_KEY_FALLBACKS; raise InvalidToken if none of them fits."""
    return _keys().decrypt(text.encode()).decode()


def _keys() -> MultiFernet:
    digests = [
        salted_hmac("second factor", "", secret=secret, algorithm="sha256").digest()
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])


def reset(user: Any) -> bool:
    """Remove the second factor of an account; return whether it had one.

    A trigger ends the account's sessions and tokens.
    """
    return bool(Authenticator.objects.filter(user_id=user.pk).delete()[0])
