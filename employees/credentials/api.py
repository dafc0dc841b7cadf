import logging
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import APIException, AuthenticationFailed, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.views import TokenViewBase

from config.lib.http import access_log
from config.lib.http.throttling import LogInRate
from config.postgres.base import without_standby
from employees.credentials import second_factor, tokens
from employees.credentials.models import LogIn


class SecondFactorRequired(AuthenticationFailed):
    default_code = "SECOND_FACTOR_REQUIRED"
    default_detail = gettext_lazy("This account has a second factor. Send its current code as “code”.")


class SecondFactorInvalid(AuthenticationFailed):
    default_code = "SECOND_FACTOR_INVALID"
    default_detail = gettext_lazy("The code is wrong or has already been used. Wait for the next one.")


class SecondFactorNotSetUp(AuthenticationFailed):
    default_code = "SECOND_FACTOR_NOT_SET_UP"
    default_detail = gettext_lazy("This account needs a second factor. Log in at /admin/ and set it up first.")


class TokenObtainPairSerializer(serializers.Serializer[Any]):
    # No user has a longer name.
    username = serializers.CharField(max_length=150, write_only=True)
    password = serializers.CharField(trim_whitespace=False, write_only=True)
    code = serializers.CharField(
        max_length=second_factor.LONGEST_CODE,
        required=False,
        allow_blank=True,
        write_only=True,
        help_text="The code of the authenticator app, or a recovery code, of an account with a second factor.",
    )
    access = serializers.CharField(read_only=True)
    refresh = serializers.CharField(read_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        """Return an access and a refresh token for a user name, a password and, if needed, a code.

        Raise AuthenticationFailed if one of them is wrong or missing, and Throttled while axes locks out the user name
        at this address.
        """
        request, code = self.context["request"], attrs.pop("code", "")
        user = authenticate(request, **attrs)
        if user is None:
            raise self._failed(AuthenticationFailed(_("Wrong user name or password, or the account is deactivated.")))
        has_factor = second_factor.is_set_up(user)
        if not has_factor and second_factor.is_needed(user):
            raise self._incomplete(user, SecondFactorNotSetUp())
        if has_factor and not code:
            raise self._incomplete(user, SecondFactorRequired())
        if has_factor and second_factor.use_code(request, user, code) is None:
            raise self._failed(SecondFactorInvalid())
        log_in = LogIn.objects.start(user, has_second_factor=has_factor)
        # This signal resets axes' count of wrong passwords and sets last_login.
        user_logged_in.send(sender=type(user), request=request, user=user)
        return tokens.issue(log_in)

    def _failed(self, error: AuthenticationFailed) -> APIException:
        if getattr(self.context["request"], "axes_locked_out", False):
            return Throttled(settings.AXES_COOLOFF_TIME.total_seconds(), _("Too many wrong passwords or codes."))
        return error

    def _incomplete(self, user: Any, error: AuthenticationFailed) -> AuthenticationFailed:
        environ, outcome = self.context["request"].META, error.default_code.lower()
        access_log.log("log_in", environ, user.get_username(), level=logging.WARNING, outcome=outcome)
        return error


class TokenRefreshSerializer(serializers.Serializer[Any]):
    refresh = serializers.CharField()
    access = serializers.CharField(read_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        try:
            return tokens.refresh(attrs["refresh"])
        except tokens.TokenReused as reused:
            request = self.context["request"]
            access_log.log("refresh_token_reused", request.META, reused.user_name, level=logging.WARNING)
            raise


class TokenRevokeSerializer(serializers.Serializer[Any]):
    refresh = serializers.CharField(write_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        user = tokens.revoke(attrs["refresh"]).user
        access_log.log("log_out", self.context["request"].META, user.get_username())
        return {}


def _describe(description: str, serializer: type[Any], response: Any = None) -> Any:
    schema = extend_schema(description=description, auth=[], request=serializer, responses=response or serializer)
    return extend_schema_view(post=schema)


class _TokenView(TokenViewBase):
    throttle_classes = [LogInRate]


@_describe("Log in: an access token for 15 minutes and a refresh token for a day.", TokenObtainPairSerializer)
class LogInView(_TokenView):
    serializer_class = TokenObtainPairSerializer

    # If a failover loses the log-in, the user logs in again.
    @without_standby()
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().post(request, *args, **kwargs)


@_describe("Exchange a refresh token, which can be used once, for a new pair.", TokenRefreshSerializer)
class RefreshView(_TokenView):
    serializer_class = TokenRefreshSerializer


@_describe("Log out: all tokens of the same log-in become invalid.", TokenRevokeSerializer, OpenApiTypes.OBJECT)
class RevokeView(_TokenView):
    serializer_class = TokenRevokeSerializer

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        super().post(request, *args, **kwargs)
        return Response({})
