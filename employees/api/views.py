import logging
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Q, QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.mixins import CreateModelMixin, ListModelMixin, RetrieveModelMixin
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ModelViewSet

from config.lib.errors import JobRunning
from config.lib.pagination import Pages
from employees.accounts import IsSuperadmin, MayErase, MayLookOrRule, MayUseDirectory, user_scope
from employees.api.idempotency import answered_once
from employees.api.queries import EmployeeQuerySerializer, chosen, searched_for
from employees.api.serializers import EmployeeSerializer, MaxIdJobSerializer, UniversitySerializer
from employees.models import Employee, MaxIdJob, University
from employees.models.directory import FEW
from profiles.api.views import ProfileViewSet, checked_id
from profiles.models import Profile, ProfileQuerySet
from profiles.phones import masked

logger = logging.getLogger(__name__)


class RoughPages(Pages):
    """``count`` is exact to 10 000 and the planner's estimate above."""

    counted: int

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        is_search = bool(searched_for(request.query_params))
        self.counted = queryset.count_or_estimate(is_search=is_search)
        if is_search and self.counted <= FEW:
            queryset = queryset.gathered_first()
        return super().paginate_queryset(queryset, request, view)

    def get_count(self, queryset: Any) -> int:
        return self.counted


@extend_schema_view(
    list=extend_schema(parameters=[EmployeeQuerySerializer]),
    create=extend_schema(parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)]),
)
class EmployeeViewSet(ModelViewSet[Employee]):
    """The directory's employees: a curator's and an operator's are those of their own university."""

    queryset = Employee.objects.all()
    serializer_class = EmployeeSerializer
    permission_classes = [IsAuthenticated, MayUseDirectory]
    pagination_class = RoughPages
    lookup_value_regex = "[0-9]{1,18}"

    def get_queryset(self) -> QuerySet[Employee]:
        return user_scope(self.request.user).employees().select_related("university")

    def filter_queryset(self, queryset: Any) -> Any:
        return chosen(queryset, self.request.query_params) if self.action in ("list", "all") else queryset

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Create an employee, named by the request, the profile cache or the messenger."""
        serializer = self.get_serializer(data=request.data)
        with answered_once(request) as once:
            if once.answer is not None:
                return once.answer
            serializer.is_valid(raise_exception=True)
            employee = serializer.save(**once.hook)
        logger.info("employee created", extra=_created(employee))
        return Response(serializer.data, status=status.HTTP_201_CREATED)

    @extend_schema(parameters=[EmployeeQuerySerializer], responses=EmployeeSerializer(many=True))
    @action(detail=False)
    def all(self, request: Request) -> Response:
        """The same as the list."""
        return self.list(request)

    @extend_schema(parameters=[OpenApiParameter("max_id", str, OpenApiParameter.PATH)], responses=EmployeeSerializer)
    @action(detail=False, url_path="by-max-id/(?P<max_id>[^/]+)", pagination_class=None)
    def by_max_id(self, request: Request, max_id: str) -> Response:
        """The employee of a MAX id; of several the one with the lowest id."""
        first = self.get_queryset().filter(max_id=checked_id(max_id)).order_by("id")[:1]
        return Response(self.get_serializer(get_object_or_404(first)).data)


def _created(employee: Employee) -> dict[str, Any]:
    return {
        "event": "employee_created",
        "employee": employee.pk,
        "phone": masked(employee.phone),
        "profile_source": employee.profile_source,
    }


class UniversityViewSet(CreateModelMixin, ListModelMixin, GenericViewSet[University]):
    """The universities: all of them for a superadmin, their own for others."""

    queryset = University.objects.all()
    serializer_class = UniversitySerializer
    permission_classes = [IsAuthenticated, MayLookOrRule]
    pagination_class = Pages

    def get_queryset(self) -> QuerySet[University]:
        return user_scope(self.request.user).universities()


class MaxIdJobViewSet(RetrieveModelMixin, ListModelMixin, GenericViewSet[MaxIdJob]):
    """Searches of the direct API for missing MAX ids, with their progress."""

    queryset = MaxIdJob.objects.all()
    serializer_class = MaxIdJobSerializer
    permission_classes = [IsAuthenticated, IsSuperadmin]
    pagination_class = Pages
    lookup_value_regex = "[0-9]{1,18}"

    @extend_schema(request=None, responses={202: MaxIdJobSerializer})
    def start(self, request: Request) -> Response:
        """Begin a search for every employee without a MAX id; the worker takes it up within seconds."""
        missing = Employee.objects.aggregate(n=Count("pk", filter=Q(max_id__isnull=True)))["n"]
        try:
            with transaction.atomic():
                job = MaxIdJob.objects.create(total=missing, requested_by_id=request.user.pk)
        except IntegrityError:
            raise JobRunning from None
        return Response(self.get_serializer(job).data, status=status.HTTP_202_ACCEPTED)


class SeenProfileViewSet(ProfileViewSet):
    """Profiles: curators and operators see those of their own university's employees, others look unknown."""

    def get_permissions(self) -> list[BasePermission]:
        return [IsAuthenticated(), MayErase()] if self.request.method == "DELETE" else super().get_permissions()

    def profiles(self) -> ProfileQuerySet:
        user = self.request.user
        return Profile.objects.all() if user.is_staff else user_scope(user).profiles()

    def may_see(self, user_id: str) -> bool:
        user = self.request.user
        return user.is_staff or user_scope(user).sees_all or self.profiles().filter(user_id=user_id).exists()
