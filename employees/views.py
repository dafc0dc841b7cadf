from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.mixins import CreateModelMixin, ListModelMixin, RetrieveModelMixin
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.viewsets import GenericViewSet

from employees.models import Employee
from employees.serializers import EmployeeSerializer


class EmployeePagination(LimitOffsetPagination):
    default_limit = 50
    max_limit = 100


@extend_schema_view(list=extend_schema(parameters=[OpenApiParameter("search", str), OpenApiParameter("query", str)]))
class EmployeeViewSet(CreateModelMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet[Employee]):
    """The directory's employees."""

    queryset = Employee.objects.all()
    serializer_class = EmployeeSerializer
    pagination_class = EmployeePagination
    lookup_value_regex = "[0-9]{1,18}"

    def get_queryset(self) -> QuerySet[Employee]:
        wanted = self.request.query_params.get("search") or self.request.query_params.get("query")
        return Employee.objects.matching(wanted or "").select_related("university")
