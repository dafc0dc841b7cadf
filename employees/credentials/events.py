"""Log all log-ins and log-outs of the API and the admin; store sessions in ``LogIn`` so that they can be revoked."""

import logging
from datetime import timedelta
from typing import Any

from allauth.mfa.signals import authenticator_added, authenticator_removed, authenticator_reset
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.core.exceptions import PermissionDenied
from django.dispatch import Signal, receiver
from django.http import HttpRequest
from rest_framework.exceptions import AuthenticationFailed

from config.lib.http.access_log import log
from employees.credentials import second_factor
from employees.credentials.models import LogIn


@receiver(user_logged_in)
def record_log_in(request: Any, user: User, **_: Any) -> None:
    # REST framework's requests have no session of their own: employees.credentials.api starts their log-ins.
    if isinstance(request, HttpRequest):
        if not request.session.session_key:
            request.session.create()
        try:
            length, key = timedelta(seconds=settings.SESSION_COOKIE_AGE), str(request.session.session_key)
            LogIn.objects.start(user, length, key, has_second_factor=second_factor.is_proven(request, user))
        except AuthenticationFailed:
            request.session.flush()
            request.user = AnonymousUser()
            raise PermissionDenied from None
    log("log_in", request.META, user.get_username(), outcome="success")


@receiver(user_login_failed)
def record_failure(request: Any, credentials: dict[str, Any], outcome: str = "wrong_credentials", **_: Any) -> None:
    if getattr(request, "axes_locked_out", False):
        outcome = "locked_out"
    log("log_in", request.META, str(credentials.get("username", "")), level=logging.WARNING, outcome=outcome)


@receiver(user_logged_out)
def record_log_out(request: HttpRequest, user: User | None, **_: Any) -> None:
    LogIn.objects.filter(session_key=request.session.session_key or None).revoke()
    log("log_out", request.META, user.get_username() if user else "")


_FACTOR_EVENTS = {
    authenticator_added: "second_factor_added",
    authenticator_removed: "second_factor_removed",
    authenticator_reset: "second_factor_replaced",
}


@receiver(list(_FACTOR_EVENTS))
def record_factor(signal: Signal, request: HttpRequest, user: User, authenticator: Any, **_: Any) -> None:
    log(_FACTOR_EVENTS[signal], request.META, user.get_username(), factor=str(authenticator.type))
