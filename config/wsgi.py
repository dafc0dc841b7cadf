"""The web processes' entry: the webhook's own application, and Django's for everything else."""

import io
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.wsgi import get_wsgi_application

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

django_application = get_wsgi_application()

from config import request_id  # noqa: E402
from webhooks import receiver  # noqa: E402 (models can be imported only now)


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    request_id.begin(environ.get("HTTP_X_REQUEST_ID", ""))
    if environ["PATH_INFO"] in receiver.PATHS:
        return receiver.application(environ, start_response)
    if "HTTP_TRANSFER_ENCODING" in environ and not environ.get("CONTENT_LENGTH"):
        _measure(environ)
    return django_application(environ, start_response)


def _measure(environ: "WSGIEnvironment") -> None:
    """Read a chunked body and tell its length: Django takes a body of no announced length for empty."""
    body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
