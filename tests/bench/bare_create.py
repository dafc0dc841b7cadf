"""The baseline of POST /employees: a plain create with the same model, server, log-in and middleware."""

from tests.bench import rows  # sets Django up

# isort: split
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.urls import path
from rest_framework.generics import CreateAPIView
from rest_framework.serializers import ModelSerializer

from employees.models import Employee


class BareSerializer(ModelSerializer[Employee]):
    class Meta:
        model = Employee
        fields = "__all__"


class BareView(CreateAPIView[Employee]):
    queryset = Employee.objects.all()
    serializer_class = BareSerializer


urlpatterns = [path("bare", BareView.as_view())]
settings.ROOT_URLCONF = __name__
application = WSGIHandler()

__all__ = ["application", "rows"]
