"""API errors, all in one format: ``{"error": {"code", "message", "details"}}`` (docs/reference/http-api.md)."""

from collections.abc import Callable, Mapping
from errno import EMFILE, ENFILE
from functools import wraps
from typing import Any, NamedTuple

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt
from psycopg.errors import ReadOnlySqlTransaction, UndefinedColumn, UndefinedTable
from rest_framework import exceptions, fields, relations, serializers, status
from rest_framework.response import Response
from rest_framework.views import exception_handler, set_rollback
from rest_framework_simplejwt.exceptions import InvalidToken

from config.postgres.base import NOT_CONFIRMED, UNANSWERED, CommitNotConfirmed, CommitUnanswered

RETRY_AFTER_SECONDS = 5
_RETRY_AFTER = {"Retry-After": str(RETRY_AFTER_SECONDS)}

_CODES = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    408: "REQUEST_TIMEOUT",
    409: "ALREADY_EXISTS",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED",
    503: "UNAVAILABLE",
}

_MESSAGES = {
    400: gettext_lazy("Bad request."),
    403: gettext_lazy("You do not have permission to do this."),
    404: gettext_lazy("Not found."),
    413: gettext_lazy("The request body is too large."),
    500: gettext_lazy("Internal server error."),
}


_NOT_A_LIST = gettext_lazy("Must be a list.")
_NOT_AN_OBJECT = gettext_lazy("Must be a JSON object.")
_NO_CHOICE = gettext_lazy("Not one of the allowed values.")
_NO_MOMENT = gettext_lazy("Enter a date and time such as 2027-01-31T09:00:00+03:00.")
# REST framework's own messages show types and values of Python: “got dict”, “"['x']" is not a valid choice”. Others
# have no Russian translation.
_REPLACED: dict[Any, dict[str, Promise]] = {
    serializers.Serializer: {"invalid": _NOT_AN_OBJECT},
    serializers.ListSerializer: {"not_a_list": _NOT_A_LIST},
    fields.ListField: {"not_a_list": _NOT_A_LIST},
    fields.DictField: {"not_a_dict": _NOT_AN_OBJECT},
    fields.ChoiceField: {"invalid_choice": _NO_CHOICE},
    fields.BooleanField: {"invalid": gettext_lazy("Must be true or false.")},
    fields.DateTimeField: dict.fromkeys(("invalid", "date", "make_aware", "overflow"), _NO_MOMENT),
    fields.MultipleChoiceField: {"invalid_choice": _NO_CHOICE, "not_a_list": _NOT_A_LIST},
    relations.ManyRelatedField: {"not_a_list": _NOT_A_LIST},
    relations.PrimaryKeyRelatedField: {
        "incorrect_type": gettext_lazy("Enter the ID as a whole number."),
        "does_not_exist": gettext_lazy("No object has this ID."),
    },
}
for _class, _messages in _REPLACED.items():
    _class.default_error_messages = _class.default_error_messages | _messages
# REST framework's message about a body that is null; it has no Russian translation.
_NO_DATA = {"non_field_errors": ["No data provided"]}


class _Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT


class AlreadyExists(_Conflict):
    default_code = "ALREADY_EXISTS"


class JobRunning(_Conflict):
    default_code = "JOB_RUNNING"
    default_detail = gettext_lazy("Another MAX ID search is already running.")


class WaitsForApproval(_Conflict):
    default_code = "APPROVAL_REQUIRED"


class IdempotencyInFlight(_Conflict):
    default_code = "IDEMPOTENCY_IN_FLIGHT"
    default_detail = gettext_lazy("The first request with this Idempotency-Key is still being processed.")


class IdempotencyMismatch(exceptions.APIException):
    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "IDEMPOTENCY_MISMATCH"
    default_detail = gettext_lazy("This Idempotency-Key has already been used with a different request body.")


def body(status_code: int, message: str | Promise, details: Any = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"code": code or _CODES.get(status_code, "ERROR"), "message": message, "details": details or {}}}


def refusal(status_code: int, message: str | Promise = "") -> JsonResponse:
    """Return an error response for views outside REST framework; the default messages are in _MESSAGES."""
    headers = _RETRY_AFTER if status_code == status.HTTP_503_SERVICE_UNAVAILABLE else None
    return JsonResponse(body(status_code, message or _MESSAGES[status_code]), status=status_code, headers=headers)


class Failure(NamedTuple):
    """An error that the request did not cause: the translated message, and the code and headers of the 503 response."""

    reason: str
    code: str = "UNAVAILABLE"
    headers: Mapping[str, str] = _RETRY_AFTER

    @property
    def body(self) -> dict[str, Any]:
        return body(503, self.reason, code=self.code)

    @property
    def title(self) -> str:
        titles = {"NOT_CONFIRMED": _("Stored, not confirmed"), "MAYBE_STORED": _("Possibly stored")}
        return titles.get(self.code, _("Unavailable"))


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return the response to an error in the API's format: 503 if the request did not cause it (see ``failure``).

    Return None for an error that neither this function nor REST framework handles.
    """
    if isinstance(error, RecursionError):
        return Response(body(400, _("The JSON body is nested too deeply.")), 400)
    if isinstance(error, RequestDataTooBig):
        return Response(body(413, _MESSAGES[413]), 413)
    if is_refused_by_database(error):
        set_rollback()
        return Response(body(400, _("The database cannot process one of the values.")), 400)
    if failed := failure(error, context["request"].method):
        set_rollback()
        return Response(failed.body, 503, headers=dict(failed.headers))
    if isinstance(error, Http404):
        # Django's own message is in English and contains the model's name.
        error = exceptions.NotFound(_MESSAGES[404])
    response = exception_handler(error, context)
    if response is not None:
        message, details = _message_and_details(response.data)
        if isinstance(error, InvalidToken):
            message = _("The token is invalid or has expired. Log in again.")
        # Codes in capitals are ours; for REST framework's own codes, use the code that belongs to the status.
        code = str(getattr(error, "default_code", ""))
        response.data = body(response.status_code, message, details, code if code.isupper() else None)
    return response


def is_refused_by_database(error: Exception) -> bool:
    """Return whether PostgreSQL refused a value of the request.

    This is so if the SQLSTATE is of class 22 (data exception, such as a number out of range or an invalid regular
    expression) or 54 (program limit exceeded, such as a condition with too many parts).
    """
    return (getattr(error.__cause__, "sqlstate", None) or "").startswith(("22", "54"))


def failure(error: BaseException | None, method: str | None) -> Failure | None:
    """Return the Failure for an error that a request with this method did not cause; None for other errors.

    These are: the database is unavailable, is read-only, or has the schema of another release; the server has too many
    open files; a standby did not confirm a commit, or the connection was closed during a commit.
    """
    # What a GET stores, such as an audit row, is no change that a client could make twice.
    is_change = method not in ("GET", "HEAD", "OPTIONS")
    if is_change and isinstance(error, CommitNotConfirmed):
        # Without Retry-After: a client that repeats the request may make the change twice.
        return Failure(_(NOT_CONFIRMED), "NOT_CONFIRMED", {})
    if is_change and isinstance(error, CommitUnanswered):
        return Failure(_(UNANSWERED), "MAYBE_STORED", {})
    reason = _reason(error) if isinstance(error, Exception) else None
    return Failure(reason) if reason else None


def _reason(error: Exception) -> str | None:
    if isinstance(error.__cause__, ReadOnlySqlTransaction):
        return _("The database is read-only at the moment. Try again later.")
    # An InterfaceError means that the connection was lost earlier in the same transaction.
    if isinstance(error, OperationalError | InterfaceError) and not is_refused_by_database(error):
        return _("The database is unavailable. Try again later.")
    if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE):
        return _("The server has too many open files. Try again later.")
    if isinstance(error.__cause__, UndefinedColumn | UndefinedTable):
        return _("The database schema does not match this release.")
    return None


def _message_and_details(data: Any) -> tuple[str, dict[str, Any]]:
    """Return the first message in REST framework's error data, preceded by its field, and all messages by field."""
    if isinstance(data, list):
        return _first_message(data), {"non_field_errors": data}
    if data == _NO_DATA:
        data = {"non_field_errors": [str(_NOT_AN_OBJECT)]}
    if "detail" in data and set(data) <= {"detail", "code", "messages"}:
        return str(data["detail"]), {}
    return _first_message(data), data


def _first_message(data: Any) -> str:
    path: list[str] = []
    while isinstance(data, dict | list) and data:
        items = list(data.items() if isinstance(data, dict) else enumerate(data))
        # In a list of objects, the valid ones have an empty entry.
        key, inner = next((item for item in items if item[1]), items[0])
        if key != "non_field_errors" and (isinstance(data, dict) or isinstance(inner, dict | list)):
            path.append(str(key))
        data = inner
    text = str(data or "")
    return f"{'.'.join(path)}: {text}" if path else text


@csrf_exempt
def not_found(request: HttpRequest) -> HttpResponse:
    return refusal(404)


def read_only(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Respond with 405 to methods other than GET and HEAD."""

    @csrf_exempt
    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        response = refusal(405, _("Only GET is allowed."))
        response["Allow"] = "GET, HEAD"
        return response

    return guarded
