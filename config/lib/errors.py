"""One shape for every error of the API: ``{"error": {"code", "message", "details"}}`` (docs/reference/http-api.md)."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt
from psycopg.errors import UndefinedColumn, UndefinedTable
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler, set_rollback
from rest_framework_simplejwt.exceptions import InvalidToken

RETRY_AFTER_SECONDS = 5

_CODES = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    409: "ALREADY_EXISTS",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED",
    503: "UNAVAILABLE",
}


_MESSAGES = {
    400: gettext_lazy("the request makes no sense"),
    403: gettext_lazy("this is not permitted"),
    404: gettext_lazy("there is nothing at this path"),
    413: gettext_lazy("the body is too large"),
    500: gettext_lazy("something broke here; it is in the log"),
}


class AlreadyExists(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "ALREADY_EXISTS"

    def __init__(self, details: dict[str, list[str]]) -> None:
        super().__init__(details)


class JobRunning(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "JOB_RUNNING"
    default_detail = gettext_lazy("another job is running")


class IdempotencyInFlight(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "IDEMPOTENCY_IN_FLIGHT"
    default_detail = gettext_lazy("the first request with this Idempotency-Key is not answered yet")


class IdempotencyMismatch(exceptions.APIException):
    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "IDEMPOTENCY_MISMATCH"
    default_detail = gettext_lazy("this Idempotency-Key came with another body before")


def body(status_code: int, message: str | Promise, details: Any = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"code": code or _CODES.get(status_code, "ERROR"), "message": message, "details": details or {}}}


def refusal(status_code: int, message: str | Promise = "") -> JsonResponse:
    """Return the answer outside REST framework, with the usual message of the status where none is given."""
    return JsonResponse(body(status_code, message or _MESSAGES[status_code]), status=status_code)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Reshape what REST framework makes of an error; a database that does not answer is 503, not 500."""
    if isinstance(error, RecursionError):
        return Response(body(400, _("the body is nested too deeply")), 400)
    if isinstance(error, RequestDataTooBig):
        return Response(body(413, _MESSAGES[413]), 413)
    if why := _unavailable(error):
        set_rollback()
        return Response(body(503, why), 503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    if isinstance(error, Http404):
        # Django's text is English and names the model.
        error = exceptions.NotFound(_MESSAGES[404])
    response = exception_handler(error, context)
    if response is not None:
        message, details = _message_and_details(response.data)
        if isinstance(error, InvalidToken):
            message = _("the token is wrong or has expired: log in again")
        # Ours are in capitals; REST framework's, which are not, say less than the status.
        code = str(getattr(error, "default_code", ""))
        response.data = body(response.status_code, message, details, code if code.isupper() else None)
    return response


def _unavailable(error: Exception) -> str | None:
    """Return why the database cannot serve this release now; None when the error says something else."""
    if isinstance(error, OperationalError):
        return _("the database does not answer")
    if isinstance(error.__cause__, UndefinedColumn | UndefinedTable):
        return _("the database's schema is not that of this release")
    return None


def _message_and_details(data: Any) -> tuple[str, dict[str, Any]]:
    """Split REST framework's answer into one sentence and the errors by field."""
    if isinstance(data, list):
        return str(data[0]), {"non_field_errors": data}
    if set(data) <= {"detail", "code", "messages"}:
        return str(data["detail"]), {}
    field, errors = next(iter(data.items()))
    first = errors[0] if isinstance(errors, list) and errors else errors
    return f"{field}: {first}", data


@csrf_exempt
def not_found(request: HttpRequest) -> HttpResponse:
    return refusal(404)


def read_only(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answer other methods than GET and HEAD with 405 in the shape of every error."""

    @csrf_exempt
    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        response = refusal(405, _("only GET is allowed"))
        response["Allow"] = "GET, HEAD"
        return response

    return guarded
