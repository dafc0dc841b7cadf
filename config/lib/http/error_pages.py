"""Error pages of the admin; requests outside the admin get the JSON errors of ``config.lib.http.errors``."""

from __future__ import annotations

import math
import sys
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils import translation

from config.lib.http import errors

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# In bytes. The largest request bodies are files that are imported in the admin.
LARGEST_BODY = 16 * 1024 * 1024


def is_for_people(path: str) -> bool:
    return path.startswith("/admin/")


def page(name: str, **context: Any) -> str:
    """Render a template without the database or the request, because either may be the cause of the error."""
    return render_to_string(name, {"largest_mb": LARGEST_BODY // 1024**2, **context})


def _refuse(status: int, request: HttpRequest, exception: Exception | None = None, reason: str = "") -> HttpResponse:
    response: HttpResponse = errors.refusal(status)
    if is_for_people(request.path_info):
        response = HttpResponse(page(f"{status}_csrf.html" if reason else f"{status}.html"), status=status)
    response.refusal_reason = reason  # type: ignore[attr-defined]
    return response


# Django passes ``reason`` only for CSRF failures.
forbidden = partial(_refuse, 403)
not_found = partial(_refuse, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the response to an unhandled error: 503 if the request did not cause it, otherwise 500.

    This function handles errors outside views, for example in the session middleware. For errors inside views,
    FailureMiddleware responds with 503.
    """
    failed = errors.failure(sys.exception(), request.method)
    return unavailable(request, failed) if failed else _refuse(500, request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _refuse(413 if isinstance(exception, RequestDataTooBig) else 400, request)


def unavailable(request: HttpRequest, failed: errors.Failure) -> HttpResponse:
    if is_for_people(request.path_info):
        return HttpResponse(page("503.html", failed=failed), status=503, headers=failed.headers)
    return JsonResponse(failed.body, status=503, headers=failed.headers)


def too_many_log_ins(seconds: float) -> HttpResponse:
    wait = math.ceil(seconds)
    text = page("429.html", minutes=math.ceil(wait / 60))
    return HttpResponse(text, status=HTTPStatus.TOO_MANY_REQUESTS, headers={"Retry-After": str(wait)})


def locked_out(request: HttpRequest, response: HttpResponse | None, credentials: Any) -> HttpResponse:
    """Return the “too many log-ins” page if the locked-out user is in the admin; in the API, return ``response``."""
    if response is not None and not is_for_people(request.path_info):
        return response
    return too_many_log_ins(settings.AXES_COOLOFF_TIME.total_seconds())


def too_large(environ: WSGIEnvironment) -> bytes:
    """Return the admin's page for a request body that is too large, in the request's language.

    It is called before any middleware has run.
    """
    with translation.override(translation.get_language_from_request(WSGIRequest(environ))):
        return page("413.html").encode()
