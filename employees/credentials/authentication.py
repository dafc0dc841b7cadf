"""Authentication of API requests by access token and by API key."""

from typing import Any

from django.contrib.auth.models import User
from django.utils.translation import gettext as _
from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication

from employees.accounts import RowPermission, verbs_of
from employees.credentials.models import ApiKey, find_usable_key
from employees.credentials.tokens import log_in_of

_KEYWORD = "Api-Key"


class TokenAuthentication(JWTAuthentication):
    def get_user(self, validated_token: Any) -> Any:
        return log_in_of(validated_token).user


class ApiKeyAuthentication(BaseAuthentication):
    """Authenticate by ``Authorization: Api-Key …`` as the key's owner, limited to the key's permissions."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        scheme, _space, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != _KEYWORD.lower():
            return None
        key = find_usable_key(text.strip())
        if key is None:
            raise AuthenticationFailed(_("The API key is unknown or revoked, or has expired."))
        key.record_use()
        user: Any = key.limited_owner()
        # For the log of refusals: REST framework replaces the user of a request that is refused here.
        request._request.key_owner = user  # type: ignore[attr-defined]  # noqa: SLF001
        if not key_permissions(request.parser_context["view"], str(request.method)) <= user.key_permissions:
            raise PermissionDenied(_("The API key lacks the permission for this request."))
        return user, key

    def authenticate_header(self, request: Request) -> str:
        return _KEYWORD


def key_permissions(view: Any, method: str) -> set[str | None]:
    """Return the permissions that an API key needs for a request; if None is among them, no key may make the request.

    Most views admit people by their group. A key needs each permission explicitly, whatever its owner's groups are, so
    that it can do only what it was created for. A view without a queryset names its permission in ``permission``. If
    the response to a change includes a row, the view names the permission to view it in ``view_permission``.
    """
    queryset = getattr(view, "queryset", None)
    if queryset is None:
        return {getattr(view, "permission", None), *filter(None, [getattr(view, "view_permission", None)])}
    options = queryset.model._meta  # noqa: SLF001 (documented by Django)
    return {f"{options.app_label}.{verb}_{options.model_name}" for verb in verbs_of(view, method)}


def may_view(view: Any, user: Any) -> bool:
    """Return whether the user, limited by the request's API key if there is one, may view the rows of the view."""
    needed, held = key_permissions(view, "GET"), getattr(user, "key_permissions", None)
    return (held is None or needed <= held) and all(
        permission.may("view", user) for permission in view.get_permissions() if isinstance(permission, RowPermission)
    )


class TokenScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]
    target_class = "employees.credentials.authentication.TokenAuthentication"


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "employees.credentials.authentication.ApiKeyAuthentication"
    name = "apiKeyAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        description = "The key of a service, preceded by `Api-Key `; it is created in the admin."
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": description}
