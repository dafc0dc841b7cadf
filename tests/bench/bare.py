"""The receiver's baseline: a Django view that does nothing, under the same server."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import re_path


def empty(_request: HttpRequest) -> HttpResponse:
    return HttpResponse()


settings.configure(DEBUG=False, SECRET_KEY="bare", ALLOWED_HOSTS=["*"], MIDDLEWARE=[], ROOT_URLCONF=__name__)
urlpatterns = [re_path("", empty)]
application = get_wsgi_application()
