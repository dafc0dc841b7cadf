from typing import Any

from django.conf import settings
from django.utils.crypto import constant_time_compare
from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication


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


class StaffJWTScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]
    target_class = "monitoring.access.StaffJWTAuthentication"
    name = "monitoringAuth"


class MayMonitor(BasePermission):
    """The monitoring token, or a staff session or JWT; anybody in development while no token is set."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if is_open() or bears_token(request.headers.get("Authorization", "")):
            return True
        return bool(request.user and request.user.is_staff)


AUTHENTICATION = [StaffJWTAuthentication, SessionAuthentication]
