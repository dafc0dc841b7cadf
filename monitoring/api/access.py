from typing import Any

from django.conf import settings
from django.utils.crypto import constant_time_compare
from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from employees.accounts import permission_scope
from employees.credentials.authentication import ApiKeyAuthentication, TokenAuthentication


def bears_token(authorization: str) -> bool:
    scheme, _, token = authorization.partition(" ")
    return (
        bool(settings.MONITORING_TOKEN)
        and scheme.lower() == "bearer"
        and constant_time_compare(token.strip(), settings.MONITORING_TOKEN)
    )


def is_open() -> bool:
    """Return whether everybody may read without logging in: only in development, while no MONITORING_TOKEN is set."""
    return settings.DEBUG and not settings.MONITORING_TOKEN


class MonitoringJWTAuthentication(TokenAuthentication):
    """Authenticate by JWT. Skip the monitoring token, which uses the same header: MayMonitor checks it."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        return None if bears_token(request.headers.get("Authorization", "")) else super().authenticate(request)


class MonitoringScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]
    target_class = "monitoring.api.access.MonitoringJWTAuthentication"
    name = "monitoringAuth"


class MayMonitor(BasePermission):
    """Allow requests with the monitoring token and users with the view's ``permission``; allow all if ``is_open()``."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if is_open() or bears_token(request.headers.get("Authorization", "")):
            return True
        return bool(request.user and request.user.has_perm(view.permission))  # type: ignore[attr-defined]


def universities_of(request: Request) -> set[int] | None:
    """Return the IDs of the universities that the requesting user is limited to; None if the user sees all."""
    # While the API is open to everybody, an expired token must not be refused.
    if is_open() or not request.user or not request.user.is_authenticated:
        return None
    return permission_scope(request.user).university_ids()


AUTHENTICATION = [MonitoringJWTAuthentication, ApiKeyAuthentication, SessionAuthentication]
