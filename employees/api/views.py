import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.mixins import CreateModelMixin, ListModelMixin, RetrieveModelMixin
from rest_framework.permissions import SAFE_METHODS, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ModelViewSet

from config.lib import audit_log
from config.lib.http.errors import IdempotencyInFlight, IdempotencyMismatch, JobRunning
from config.lib.http.pagination import Pages
from config.lib.messages import Message
from config.postgres import locks
from config.postgres.base import without_standby
from employees.accounts import (
    VIEW_PROFILE,
    DirectoryPermission,
    IsSuperadmin,
    IsSuperadminOrReadOnly,
    ProfilePermission,
    UserScope,
    permission_scope,
    user_scope,
)
from employees.api.serializers import (
    EmployeeQuerySerializer,
    EmployeeSerializer,
    MaxIdJobSerializer,
    UniversitySerializer,
    created,
    filter_employees,
    repeated,
    search_text,
)
from employees.credentials.authentication import may_view
from employees.credentials.models import ApiKey
from employees.models import Employee, IdempotentRequest, MaxIdJob, University
from profiles.api.serializers import USER_ID
from profiles.api.views import ProfileViewSet, checked_id
from profiles.models import Profile, ProfileQuerySet
from profiles.phones import masked

_KEY = re.compile(r"[!-~]{1,255}")
logger = logging.getLogger(__name__)


@contextmanager
def idempotent(request: Request) -> Iterator[IdempotentRequest | None]:
    """Yield the row of the request's Idempotency-Key, which is created for a new key; yield None if there is no key.

    If the row has a status, the request was answered before: the ``with`` block must return the stored response.
    Otherwise, the block must store its response in the row, in the transaction that creates the object. If the block
    raises an APIException, the row is deleted, so that the key can be used again.

    Raise ValidationError for an invalid key, IdempotencyMismatch if the key has been used with another body, and
    IdempotencyInFlight if the first request with the key is still in progress.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        yield None
        return
    if not _KEY.fullmatch(key):
        raise ValidationError({"Idempotency-Key": [_("Must be 1 to 255 visible ASCII characters.")]})
    user_id: Any = request.user.pk
    if isinstance(request.auth, ApiKey):
        # Other API keys of the owner may have other rights, and their services may choose the same Idempotency-Key.
        key = hashlib.sha256(f"{request.auth.pk} {key}".encode()).hexdigest()
    fingerprint = hashlib.sha256(json.dumps(request.data, sort_keys=True).encode()).hexdigest()
    with without_standby():
        IdempotentRequest.objects.filter(user_id=user_id, key=key).outdated().delete()
        stored, is_new = IdempotentRequest.objects.get_or_create(
            user_id=user_id, key=key, defaults={"fingerprint": fingerprint, "created_at": Now()}
        )
    if stored.fingerprint != fingerprint:
        raise IdempotencyMismatch
    if stored.status is None and not is_new:
        raise IdempotencyInFlight
    try:
        yield stored
    except APIException:
        with without_standby():
            IdempotentRequest.objects.filter(pk=stored.pk, status=None).delete()
        raise


class EstimatedPages(Pages):
    """Paginate with a ``count`` that is exact up to 10,000; above that, it is an estimate by PostgreSQL's planner."""

    total: int

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        is_search = bool(search_text(request.query_params))
        self.total = queryset.count_or_estimate(is_search=is_search)
        if is_search and not queryset.query.order_by:
            queryset = queryset.sorted_by_id(self.total)
        return super().paginate_queryset(queryset, request, view)

    def get_count(self, queryset: Any) -> int:
        return self.total


def _created(component: str) -> dict[str, Any]:
    """Return the schema of the response for a new row: all fields or, without the permission to view, some of them."""
    limited = {
        "type": "object",
        "description": "Without the permission to view: the id, and the fields that the request contained.",
        "properties": {"id": {"type": "integer"}},
        "required": ["id"],
    }
    return {"anyOf": [{"$ref": f"#/components/schemas/{component}"}, limited]}


@extend_schema_view(
    list=extend_schema(
        parameters=[EmployeeQuerySerializer],
        description="List the employees. Curators and operators see those of their own university only.",
    ),
    create=extend_schema(
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                {"type": "string", "pattern": f"^{_KEY.pattern}$"},
                OpenApiParameter.HEADER,
                description="A request with the same key and body gets the same response for 24 hours",
            )
        ],
        responses={201: _created("Employee")},
    ),
    retrieve=extend_schema(description="Return an employee."),
    partial_update=extend_schema(description="Change the given fields of an employee, as PUT does."),
    destroy=extend_schema(description="Delete an employee."),
)
class EmployeeViewSet(ModelViewSet[Employee]):
    """Employees of the directory. Curators and operators have access to their own university only."""

    queryset = Employee.objects.all()
    serializer_class = EmployeeSerializer
    permission_classes = [IsAuthenticated, DirectoryPermission]
    pagination_class = EstimatedPages
    lookup_value_converter = "int"

    def get_queryset(self) -> QuerySet[Employee]:
        return user_scope(self.request.user).employees().select_related("university")

    def filter_queryset(self, queryset: Any) -> Any:
        is_list = self.action in ("list", "all")
        return filter_employees(queryset, self.request.query_params) if is_list else queryset

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Create an employee. The name comes from the request, the profile cache or the direct API.

        Without the permission to view employees, the response has only the id and what the request contained.
        """
        serializer = self.get_serializer(data=request.data)
        with idempotent(request) as stored:
            if stored and stored.status is not None:
                # Wait for a standby: it may not have confirmed yet what the first response was about.
                with transaction.atomic():
                    locks.limit_commit()
                return Response(repeated(serializer, stored.answer), status=stored.status)
            serializer.is_valid(raise_exception=True)
            employee = serializer.save(idempotent_request=stored)
        extra = {"event": "employee_created", "employee": employee.pk, "phone": masked(employee.phone)}
        logger.info("employee created", extra=extra | {"profile_source": employee.profile_source})
        return Response(created(serializer, employee), status=status.HTTP_201_CREATED)

    @extend_schema(request=EmployeeSerializer(partial=True))
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the given fields of an employee; all other fields keep their values, also in a PUT."""
        return super().update(request, *args, **kwargs | {"partial": True})

    @extend_schema(parameters=[EmployeeQuerySerializer], responses=EmployeeSerializer(many=True))
    @action(detail=False)
    def all(self, request: Request) -> Response:
        """Return the same list as `GET /employees`."""
        return self.list(request)

    @extend_schema(
        parameters=[OpenApiParameter("max_id", USER_ID, OpenApiParameter.PATH)], responses=EmployeeSerializer
    )
    @action(detail=False, url_path="by-max-id/<str:max_id>", pagination_class=None)
    def by_max_id(self, request: Request, max_id: str) -> Response:
        """Return the employee with this MAX ID; the one with the lowest id if there are several."""
        first = self.get_queryset().filter(max_id=checked_id(max_id)).order_by("id")[:1]
        return Response(self.get_serializer(get_object_or_404(first)).data)


@extend_schema_view(
    list=extend_schema(description="List the universities. All of them for superadmins, their own for other users."),
    create=extend_schema(responses={201: _created("University")}),
)
class UniversityViewSet(CreateModelMixin, ListModelMixin, GenericViewSet[University]):
    """Universities: all of them for superadmins, their own for other users."""

    queryset = University.objects.all()
    serializer_class = UniversitySerializer
    permission_classes = [IsAuthenticated, IsSuperadminOrReadOnly]
    pagination_class = Pages

    def get_queryset(self) -> QuerySet[University]:
        return user_scope(self.request.user).universities()

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Create a university.

        Without the permission to view universities, the response has only the id and what the request contained.
        """
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return Response(created(serializer, serializer.save()), status=status.HTTP_201_CREATED)


@extend_schema_view(
    list=extend_schema(description="List the searches for missing MAX IDs, the latest first."),
    retrieve=extend_schema(description="Return a search for missing MAX IDs."),
)
class MaxIdJobViewSet(RetrieveModelMixin, ListModelMixin, GenericViewSet[MaxIdJob]):
    """Background searches that ask the direct API for missing MAX IDs."""

    queryset = MaxIdJob.objects.all()
    serializer_class = MaxIdJobSerializer
    permission_classes = [IsAuthenticated, IsSuperadmin]
    pagination_class = Pages
    lookup_value_converter = "int"

    @extend_schema(request=None, responses={202: _created("MaxIdJob")})
    def start(self, request: Request) -> Response:
        """Start a search for all employees without a MAX ID. It begins within seconds.

        Without the permission to view the searches, the response has only the id.
        """
        missing = Employee.objects.aggregate(n=Count("pk", filter=Q(max_id__isnull=True)))["n"]
        try:
            with transaction.atomic():
                job = MaxIdJob.objects.create(total=missing, requested_by_id=request.user.pk)
        except IntegrityError:
            raise JobRunning from None
        shown = self.get_serializer(job).data if may_view(self, request.user) else {"id": job.pk}
        return Response(shown, status=status.HTTP_202_ACCEPTED)


class ScopedProfileViewSet(ProfileViewSet):
    """Profiles. Users who are limited to a university have access only to the profiles of its employees."""

    permission_classes = [IsAuthenticated, ProfilePermission]

    @property
    def scope(self) -> UserScope:
        """Return the scope of the user's permissions if the user may view profiles, otherwise that of the user's group.

        For a DELETE, return the scope of the permissions in any case: an erasure shows no data.
        """
        user = self.request.user
        has_permission = self.request.method == "DELETE" or user.has_perm(VIEW_PROFILE)
        return permission_scope(user) if has_permission else user_scope(user)

    def profiles(self) -> ProfileQuerySet:
        return self.scope.profiles()

    def may_see(self, user_id: str) -> bool:
        return self.scope.knows(user_id)

    def may_erase(self, user_id: str) -> bool:
        return self.scope.covers(user_id)

    def record(self, user_id: str, message: Message) -> None:
        if self.request.method not in SAFE_METHODS:
            # An erasure replaces the MAX ID in such rows of the log by its hash.
            audit_log.record(self.request, message, Profile(user_id=user_id))
            return
        audit_log.record(self.request, message, self.scope.employee_with(user_id))
