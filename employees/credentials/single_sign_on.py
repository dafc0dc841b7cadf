"""Single sign-on by an OpenID Connect provider: who may log in, and which groups they get (docs/how-to/log-in.md).

django-allauth keeps the state of a log-in and exchanges the code. Its other features are not available here, such as
signing up, or connecting an account that somebody else may own.
"""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Callable
from typing import Any, cast

import jwt
from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import Login
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import logout
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST
from requests import RequestException

from config.lib.http import access_log, error_pages
from config.lib.http.errors import Failure, failure
from config.lib.text import clean
from config.postgres.base import CommitNotConfirmed, CommitUnanswered, without_standby
from config.postgres.locks import confirmed_together
from employees.accounts import Group as DirectoryGroup
from employees.credentials.adapters import AccountAdapter

logger = logging.getLogger(__name__)
# The algorithms of signatures that only the provider can make.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_CLOCKS_DIFFER_BY = 60
_ENDPOINTS = {"authorization_endpoint", "token_endpoint", "jwks_uri"}


class _Provider(OpenIDConnectOAuth2Adapter):
    """The OpenID Connect provider; its claims come from the ID token, whose signature is verified here."""

    @property
    def openid_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().openid_config
        if config.get("issuer") != settings.OIDC_ISSUER or not config.keys() >= _ENDPOINTS:
            raise OAuth2Error("the configuration is not that of OIDC_ISSUER")
        return config

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> Any:
        claims = self._claims(app, kwargs["response"].get("id_token"))
        # A subject is unique only with its issuer. The hash is all that is stored of the claims.
        uid = hashlib.sha256(f"{claims['iss']}\n{claims['sub']}".encode(errors="surrogatepass")).hexdigest()
        login = self.get_provider().sociallogin_from_response(request, {"id_token": {"sub": uid}})
        login.claims = claims
        return login

    def _claims(self, app: Any, id_token: Any) -> dict[str, Any]:
        """Return the ID token's claims; raise OAuth2Error if it is expired or was not issued to us by the provider."""
        with SingleSignOnAdapter().get_requests_session() as session:
            response = session.get(self.openid_config["jwks_uri"])
            response.raise_for_status()
        try:
            key_id = jwt.get_unverified_header(id_token).get("kid")
            keys = [key for key in jwt.PyJWKSet.from_dict(response.json()).keys if key.public_key_use in (None, "sig")]
            key = next((key for key in keys if key_id in (key.key_id, None)), None)
            if key is None:
                raise OAuth2Error("the key of the ID token is unknown")
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key,
                algorithms=_ALGORITHMS,
                audience=app.client_id,
                issuer=settings.OIDC_ISSUER,
                leeway=_CLOCKS_DIFFER_BY,
                options={"require": ["exp", "iat", "aud", "iss", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise OAuth2Error(f"the ID token is invalid: {type(error).__name__}") from error
        if claims.get("azp", app.client_id) != app.client_id:
            raise OAuth2Error("the ID token was issued to another client")
        return claims


class SingleSignOnAdapter(DefaultSocialAccountAdapter):
    def list_apps(self, request: HttpRequest, provider: str | None = None, client_id: str | None = None) -> list[Any]:
        """Return the provider from the settings; providers in the database are ignored."""
        apps = settings.SOCIALACCOUNT_PROVIDERS.get("openid_connect", {}).get("APPS", [])
        return [SocialApp(provider="openid_connect", **app) for app in apps]

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Find or create the account, set its groups, and log in; raise ImmediateHttpResponse with the next page.

        If a group is removed, a trigger ends the account's sessions and tokens, so the groups are set before the log-in
        starts. allauth's own log-in is not used, because it would keep the provider's tokens in the session while the
        user enters the code of the second factor.
        """
        claims = sociallogin.claims
        user = sociallogin.user if sociallogin.is_existing else _connect(request, sociallogin, claims)
        if not user.is_active:
            raise refuse(request, "deactivated", user.get_username())
        if not user.is_staff:
            raise refuse(request, "not_staff", user.get_username())
        if settings.OIDC_GROUPS_CLAIM:
            _set_groups(request, user, claims)
        if request.user.is_authenticated:
            logout(request)
        record_authentication(request, user, "socialaccount", provider=sociallogin.account.provider)
        log_in = Login(user=user, redirect_url=sociallogin.get_redirect_url(request))
        raise ImmediateHttpResponse(perform_login(request, log_in))

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        raise _provider_failed(request, exception)


def _connect(request: HttpRequest, sociallogin: Any, claims: dict[str, Any]) -> User:
    """Connect the identity to the account with its verified e-mail address or to a new account, and return it.

    Refuse the log-in if several accounts have the address, or if the account is a superuser's or is already connected
    to another identity.
    """
    email = claims.get("email") if claims.get("email_verified") is True else ""
    # Text that PostgreSQL does not store, as NUL and half a surrogate pair, is not printable either.
    if not (isinstance(email, str) and email.isprintable()):
        email = ""
    users = [user for user in User.objects.filter(email__iexact=email) if _is_same(user.email, email)] if email else []
    if len(users) > 1:
        raise refuse(request, "ambiguous_email")
    with transaction.atomic():
        user = users[0] if users else _create(request, claims, email)
        if user.is_superuser:
            raise refuse(request, "superuser", user.get_username())
        if SocialAccount.objects.filter(user=user).exists():
            # An address may have a new holder, who must not get the account that the former holder's identity uses.
            raise refuse(request, "connected_otherwise", user.get_username())
        sociallogin.account.user = sociallogin.user = user
        sociallogin.account.save()
    return user


def _is_same(address: str, other: str) -> bool:
    """Return whether two addresses differ at most in the case of letters, by a stricter rule than PostgreSQL's.

    PostgreSQL's UPPER maps ı to I and ſ to S, and the Kelvin sign has the lower case k. Here, ı is not equal to i, and
    an address with a letter that NFKC replaces, such as ſ or the Kelvin sign, is not equal to any address.
    """
    return address.lower() == other.lower() and all(
        unicodedata.is_normalized("NFKC", each) for each in (address, other)
    )


def _create(request: HttpRequest, claims: dict[str, Any], email: str) -> User:
    """Create an account, and return it.

    Refuse the log-in if the settings forbid new accounts, the claim names none of our groups, or the name is taken.
    """
    texts = {key: clean(str(claims.get(key) or "")) for key in ("preferred_username", "given_name", "family_name")}
    name = User.normalize_username(texts["preferred_username"] or email)
    if not settings.OIDC_CREATE_USERS or not _groups(claims):
        raise refuse(request, "no_account", name)
    first_name, last_name = texts["given_name"][:150], texts["family_name"][:150]
    user = User(username=name, email=email, first_name=first_name, last_name=last_name, is_staff=True)
    user.set_unusable_password()
    try:
        user.full_clean()
    except ValidationError:
        raise refuse(request, "name_taken", name) from None
    user.save()
    access_log.log("account_created", request.META, name)
    return user


def _groups(claims: dict[str, Any]) -> set[str]:
    """Return the names of the groups in the claim that also exist here; the superadmins' group is never among them."""
    given = claims.get(settings.OIDC_GROUPS_CLAIM) if settings.OIDC_GROUPS_CLAIM else None
    # Keycloak writes the path of a group, “/operator”, unless its mapper is set otherwise.
    names = {str(name).rpartition("/")[2] for name in (given if isinstance(given, list) else [given])}
    return set(_managed().filter(name__in=filter(str.isprintable, names)).values_list("name", flat=True))


def _managed() -> Any:
    return Group.objects.exclude(name=DirectoryGroup.SUPERADMIN)


def _set_groups(request: HttpRequest, user: User, claims: dict[str, Any]) -> None:
    wanted, had = _groups(claims), set(_managed().filter(user=user).values_list("name", flat=True))
    # If a group is removed, wait for a standby: a failover must not restore the user's rights.
    with without_standby() if had <= wanted else confirmed_together():
        with transaction.atomic():
            user.groups.remove(*_managed().filter(name__in=had - wanted))
            user.groups.add(*_managed().filter(name__in=wanted - had))
        if wanted != had:
            added, removed = (", ".join(sorted(names)) for names in (wanted - had, had - wanted))
            access_log.log("groups_changed", request.META, user.get_username(), added=added, removed=removed)


def refuse(request: HttpRequest, reason: str, name: str = "") -> ImmediateHttpResponse:
    """Log a refused log-in, and return the exception that shows the reason to the user."""
    access_log.log("log_in", request.META, name, level=logging.WARNING, outcome=reason, door="sso")
    reasons = {
        "ambiguous_email": _("Several accounts have your e-mail address. An administrator has to correct this."),
        "connected_otherwise": _("The account with your e-mail address is linked to a different single sign-on user."),
        "deactivated": _("Your account is deactivated."),
        "name_taken": _("An account with your user name exists, but it has another e-mail address."),
        "no_account": _("You have no account here. Ask an administrator to create one with your e-mail address."),
        "not_staff": _("Your account has no access to the admin site."),
        "provider_refused": _("The identity provider did not confirm who you are. Try again."),
        "provider_unavailable": _("The identity provider is unavailable. Log in with a password, or try again later."),
        "superuser": _("A superuser is not linked to single sign-on by e-mail address. Log in with your password."),
    }
    context = admin.site.each_context(request) | {"title": _("Log-in refused"), "text": reasons[reason]}
    status = 503 if reason == "provider_unavailable" else 403
    response = TemplateResponse(request, "admin/log_in_refused.html", context, status=status)
    return ImmediateHttpResponse(response.render())


def _provider_failed(request: HttpRequest, error: Exception | None) -> ImmediateHttpResponse:
    logger.warning("single sign-on failed", extra={"event": "sso_failed", "error": str(error)[:200]})
    return refuse(request, "provider_unavailable" if isinstance(error, RequestException) else "provider_refused")


@require_POST
def start(request: HttpRequest, provider_id: str) -> HttpResponse:
    def redirect(adapter: _Provider) -> HttpResponse:
        provider, to = adapter.get_provider(), request.POST.get("next", "")
        provider.get_oauth2_adapter = lambda _request: adapter
        next_url = to if to and AccountAdapter(request).is_safe_url(to) else None
        response: HttpResponse = provider.redirect(request, "login", next_url=next_url)
        return response

    return _with_provider(request, provider_id, redirect)


@require_GET
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    try:
        return _with_provider(request, provider_id, lambda adapter: OAuth2CallbackView.adapter_view(adapter)(request))
    except (CommitNotConfirmed, CommitUnanswered) as error:
        # Unlike other GETs, it changes the user's rights, and its code can be used only once.
        logger.error("request failed", extra={"event": "request_failed"}, exc_info=error)
        return error_pages.unavailable(request, cast(Failure, failure(error, "POST")))


def _with_provider(request: HttpRequest, provider_id: str, step: Callable[[_Provider], HttpResponse]) -> HttpResponse:
    if not settings.OIDC_ISSUER:
        raise Http404
    try:
        return step(_Provider(request, provider_id))
    except (RequestException, OAuth2Error) as error:
        response: HttpResponse = _provider_failed(request, error).response
        return response
