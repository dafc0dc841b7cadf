from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer, TokenRefreshSerializer
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from config.lib.throttling import LogInRate


class LogInSerializer(TokenObtainPairSerializer):
    """User name and password for a pair of tokens; 429 while axes locks the name and the address out."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            tokens = dict(super().validate(attrs))
        except AuthenticationFailed:
            if getattr(self.context["request"], "axes_locked_out", False):
                raise Throttled(settings.AXES_COOLOFF_TIME.total_seconds(), _("Too many wrong passwords.")) from None
            raise
        # Forgives the wrong passwords before it, and notes the time.
        user_logged_in.send(sender=type(self.user), request=self.context["request"], user=self.user)
        return tokens


class LogInView(TokenObtainPairView):
    throttle_classes = [LogInRate]

    @extend_schema(auth=[], request=TokenObtainPairSerializer, responses=TokenObtainPairSerializer)
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Log in: a token for 15 minutes and one to refresh it for a day."""
        return Response(super().post(request, *args, **kwargs).data)


class RefreshView(TokenRefreshView):
    throttle_classes = [LogInRate]

    @extend_schema(auth=[], request=TokenRefreshSerializer, responses=TokenRefreshSerializer)
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Trade a refresh token, which is used up by it, for a new pair."""
        return Response(super().post(request, *args, **kwargs).data)
