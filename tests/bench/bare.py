"""What a create costs that does nothing but create: the same model, serializer class, server, log-in and middleware."""

import os
from typing import ClassVar

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

# isort: split
from django.conf import settings
from django.urls import path
from rest_framework.generics import CreateAPIView
from rest_framework.serializers import ModelSerializer

from employees.models import Employee


class BareSerializer(ModelSerializer[Employee]):
    class Meta:
        model = Employee
        fields = "__all__"
        depth: ClassVar[int] = 0


class BareView(CreateAPIView[Employee]):
    queryset = Employee.objects.all()
    serializer_class = BareSerializer


urlpatterns = [path("bare", BareView.as_view())]
settings.ROOT_URLCONF = __name__
