"""The receiver's baseline: a Django view that only reads the body, under the same server."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import re_path


def empty(request: HttpRequest) -> HttpResponse:
    # The server would close the connection after a request whose body was not read.
    len(request.body)
    return HttpResponse()


settings.configure(DEBUG=False, SECRET_KEY="bare", ALLOWED_HOSTS=["*"], MIDDLEWARE=[], ROOT_URLCONF=__name__)
urlpatterns = [re_path("", empty)]
application = get_wsgi_application()
