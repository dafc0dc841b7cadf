"""Change django-allauth's defaults: the steps of a log-in, allowed redirects, messages, and encryption of secrets."""

from __future__ import annotations

import time
from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.stages import AuthenticateStage
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from employees.credentials import second_factor


class CodeStage(AuthenticateStage):
    """Ask for a code during the log-in, after the password or the identity provider's answer was accepted."""

    def handle(self) -> Any:
        # If the password changes before the code is entered, this log-in ends.
        self.state["hash"] = self.login.user.get_session_auth_hash()
        return super().handle()

    def is_valid(self) -> bool:
        user = self.login.user
        return bool(user.is_active and self.state.get("hash") == user.get_session_auth_hash())


class AccountAdapter(DefaultAccountAdapter):
    def get_login_stages(self) -> list[str]:
        return ["employees.credentials.adapters.CodeStage"]

    def is_safe_url(self, url: str) -> bool:
        """Allow redirects only to this host; allauth itself would allow every host of ALLOWED_HOSTS."""
        request = context.request
        return url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Return whether the user's last proof of identity is too old to change the second factor now."""
        request = context.request
        records = get_authentication_records(request, request.user)
        if second_factor.is_set_up(request.user):
            records = [record for record in records if record["method"] == "mfa"]
        newest = max((record["at"] for record in records), default=0)
        return bool(time.time() - newest >= app_settings.REAUTHENTICATION_TIMEOUT)

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, str]]:
        if second_factor.is_set_up(user):
            name = "mfa_reauthenticate"
        else:
            # Users of the identity provider have no password here: they prove their identity by another log-in.
            name = "account_reauthenticate" if user.has_usable_password() else "account_login"
        return [{"id": name, "description": "", "url": reverse(name)}]

    def is_ajax(self, request: HttpRequest) -> bool:
        """Return False: the JSON version of the log-in page would contain the password."""
        return False

    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """Show no messages: the pages themselves say what was done."""


class SecondFactorAdapter(DefaultMFAAdapter):
    def encrypt(self, text: str) -> str:
        return second_factor.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return second_factor.decrypt(encrypted_text)
