from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.utils.crypto import constant_time_compare
from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.models import TokenUser
from rest_framework_simplejwt.tokens import Token


def bears_token(authorization: str) -> bool:
    scheme, _, token = authorization.partition(" ")
    return (
        bool(settings.MONITORING_TOKEN)
        and scheme.lower() == "bearer"
        and constant_time_compare(token.strip(), settings.MONITORING_TOKEN)
    )


def is_open() -> bool:
    """Tell whether anybody may look: in development, as long as no token is set."""
    return settings.DEBUG and not settings.MONITORING_TOKEN


class StaffJWTAuthentication(JWTAuthentication):
    """A JWT as everywhere; the monitoring token in the same header is left to the permission."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        return None if bears_token(request.headers.get("Authorization", "")) else super().authenticate(request)


class LastingJWTAuthentication(StaffJWTAuthentication):
    """For reports: while PostgreSQL is away the token's own word counts, which is fifteen minutes old at most."""

    def get_user(self, validated_token: Token) -> Any:
        try:
            return super().get_user(validated_token)
        except DatabaseError:
            return TokenUser(validated_token)


class StaffJWTScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]
    target_class = "monitoring.api.access.StaffJWTAuthentication"
    name = "staffAuth"


class MonitoringScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]
    target_class = "monitoring.api.access.LastingJWTAuthentication"
    name = "monitoringAuth"


class MayMonitor(BasePermission):
    """The monitoring token, or a staff session or JWT; anybody in development while no token is set."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if is_open() or bears_token(request.headers.get("Authorization", "")):
            return True
        return bool(request.user and request.user.is_staff)


AUTHENTICATION = [StaffJWTAuthentication, SessionAuthentication]
READING_AUTHENTICATION = [LastingJWTAuthentication, SessionAuthentication]
