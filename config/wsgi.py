"""The WSGI application: webhooks.receiver serves the webhook, and Django everything else.

Every response has the request id in X-Request-ID.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.core.wsgi import get_wsgi_application

from config.lib import request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

django_application = get_wsgi_application()

from webhooks import receiver  # noqa: E402 (models can be imported only now)


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    start_response = request_id.begin_request(environ, start_response)
    if environ["PATH_INFO"] in receiver.PATHS:
        return receiver.application(environ, start_response)
    return django_application(environ, start_response)
