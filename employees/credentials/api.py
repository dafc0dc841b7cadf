import logging
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.views import TokenViewBase

from config.lib import access_log
from config.lib.throttling import LogInRate
from employees.credentials import tokens
from employees.credentials.models import LogIn


class TokenObtainPairSerializer(serializers.Serializer[Any]):
    # No user has a longer name.
    username = serializers.CharField(max_length=150, write_only=True)
    password = serializers.CharField(trim_whitespace=False, write_only=True)
    access = serializers.CharField(read_only=True)
    refresh = serializers.CharField(read_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        """Exchange a user name and password for two tokens; raise Throttled while axes locks out name and address."""
        request = self.context["request"]
        user = authenticate(request, **attrs)
        if user is None:
            if getattr(request, "axes_locked_out", False):
                raise Throttled(settings.AXES_COOLOFF_TIME.total_seconds(), _("Too many wrong passwords."))
            raise AuthenticationFailed(_("Wrong user name or password, or the account is closed."))
        log_in = LogIn.objects.start(user)
        # This signal resets axes' count of wrong passwords and sets last_login.
        user_logged_in.send(sender=type(user), request=request, user=user)
        return tokens.issue(log_in)


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


@_describe("Exchange a refresh token, which can be used once, for a new pair.", TokenRefreshSerializer)
class RefreshView(_TokenView):
    serializer_class = TokenRefreshSerializer


@_describe("Log out: all tokens of the same log-in become invalid.", TokenRevokeSerializer, OpenApiTypes.OBJECT)
class RevokeView(_TokenView):
    serializer_class = TokenRevokeSerializer

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        super().post(request, *args, **kwargs)
        return Response({})
