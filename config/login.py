from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer, TokenRefreshSerializer
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from config.lib.throttling import LogInRate


class LogInSerializer(TokenObtainPairSerializer):
    """Exchange a user name and password for two tokens; respond with 429 while axes locks out the name and address."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            tokens = dict(super().validate(attrs))
        except AuthenticationFailed:
            if getattr(self.context["request"], "axes_locked_out", False):
                raise Throttled(settings.AXES_COOLOFF_TIME.total_seconds(), _("Too many wrong passwords.")) from None
            raise
        # This signal resets axes' count of wrong passwords and sets last_login.
        user_logged_in.send(sender=type(self.user), request=self.context["request"], user=self.user)
        return tokens


def _describe(description: str, serializer: type[Any]) -> Any:
    schema = extend_schema(description=description, auth=[], request=serializer, responses=serializer)
    return extend_schema_view(post=schema)


@_describe("Log in: an access token for 15 minutes and a refresh token for a day.", TokenObtainPairSerializer)
class LogInView(TokenObtainPairView):
    throttle_classes = [LogInRate]


@_describe("Exchange a refresh token, which can be used once, for a new pair.", TokenRefreshSerializer)
class RefreshView(TokenRefreshView):
    throttle_classes = [LogInRate]
