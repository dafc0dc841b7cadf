"""The tokens of a log-in. The log-in's row decides whether they are valid; a token's claims only identify the row."""

import re
from datetime import timedelta
from typing import Any, cast

from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken
from rest_framework_simplejwt.tokens import AccessToken
from rest_framework_simplejwt.tokens import RefreshToken as BlacklistedOnUse

from config.postgres.base import without_standby
from employees.credentials import second_factor
from employees.credentials.models import LogIn, find_usable

# OpenID Connect's claim for a session; RFC 7519 has none.
_LOG_IN_CLAIM = "sid"
_ID = re.compile(r"[0-9a-f]{32}")


class RefreshToken(BlacklistedOnUse):
    def check_blacklist(self) -> None:
        """Accept any token: two simultaneous uses could both pass a check here, so ``refresh`` detects the reuse."""


class TokenReused(InvalidToken):
    """Raised when a refresh token is used again; its log-in is then revoked. ``user_name`` is the log-in's user."""

    def __init__(self, user_name: str) -> None:
        super().__init__()
        self.user_name = user_name


def log_in_of(token: Any) -> LogIn:
    """Return the log-in to which this token belongs; raise InvalidToken if the log-in is revoked or expired.

    Also raise InvalidToken if the user logged in without a second factor, but needs one now.
    """
    ids = [token.get(name) for name in (_LOG_IN_CLAIM, api_settings.JTI_CLAIM)]
    # A text that is not an ID, such as one with a NUL character, could not be looked up.
    if not all(isinstance(each, str) and _ID.fullmatch(each) for each in ids):
        raise InvalidToken
    log_in = find_usable(ids[0])
    if log_in is None or (not log_in.has_second_factor and second_factor.is_needed(log_in.user)):
        raise InvalidToken
    return log_in


def refresh(text: str) -> dict[str, str]:
    """Exchange a refresh token for a new pair.

    A refresh token can be used once. If it is used again, it may be stolen, so revoke the log-in and raise
    TokenReused. Of simultaneous requests with the same token, only the first to mark it as used gets the pair. Raise
    TokenError or InvalidToken for an invalid token.
    """
    token = RefreshToken(text)  # type: ignore[arg-type]
    log_in = log_in_of(token)
    # A request that waited for a lost standby would fail although the token is stored as used. If the client repeated
    # the request, that would count as theft.
    with without_standby():
        _row, is_first_use = cast("tuple[BlacklistedToken, bool]", token.blacklist())
        if not is_first_use:
            LogIn.objects.filter(pk=log_in.pk).revoke()
    if not is_first_use:
        raise TokenReused(log_in.user.get_username())
    return issue(log_in)


def revoke(text: str) -> LogIn:
    """Revoke the log-in to which this refresh token belongs; raise TokenError or InvalidToken if it is invalid."""
    log_in = log_in_of(RefreshToken(text))  # type: ignore[arg-type]
    LogIn.objects.filter(pk=log_in.pk).revoke()
    return log_in


def issue(log_in: LogIn) -> dict[str, str]:
    """Return a new pair of tokens, which expire no later than the log-in."""
    pair = RefreshToken()
    _complete(pair, log_in, api_settings.REFRESH_TOKEN_LIFETIME)
    return {"access": str(access_token(log_in)), "refresh": str(pair)}


def access_token(log_in: LogIn, lifetime: timedelta = api_settings.ACCESS_TOKEN_LIFETIME) -> AccessToken:
    token = AccessToken()
    _complete(token, log_in, lifetime)
    return token


def _complete(token: AccessToken | RefreshToken, log_in: LogIn, lifetime: timedelta) -> None:
    """Add the claims; those about the user are only for clients, because the server reads rights from the database."""
    ends_at = min(token.current_time + lifetime, log_in.expires_at)
    token.payload |= {
        api_settings.USER_ID_CLAIM: str(log_in.user_id),
        _LOG_IN_CLAIM: log_in.pk,
        "is_staff": log_in.user.is_staff,
        "is_superuser": log_in.user.is_superuser,
        "exp": int(ends_at.timestamp()),
    }
