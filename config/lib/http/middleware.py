import logging
from collections.abc import Callable
from datetime import UTC

from csp.middleware import CSPMiddleware, PolicyParts
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, ORDER_VAR, PAGE_VAR, SEARCH_VAR
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase, QueryDict
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin

from config.lib.http import error_pages, errors
from config.lib.http.addresses import client_address
from config.lib.text import AS_GIVEN, LINE_BY_LINE, NUMBERS, clean, clean_lines

logger = logging.getLogger(__name__)
_API_PREFIX = "/api/v1"
_HAS_OWN_SLASHES = ("/admin", "/static/")


class ClientAddressMiddleware(MiddlewareMixin):
    def process_request(self, request: HttpRequest) -> None:
        request.META["REMOTE_ADDR"] = client_address(request.META)


class PolicyMiddleware(CSPMiddleware):
    """Send the content security policy.

    The policy of the admin allows eval, because the theme uses Alpine, which runs JavaScript in HTML attributes.
    """

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.path_info.startswith("/admin") and parts.update is None:
            parts.update = {"script-src": "'unsafe-eval'"}
        return parts


class CanonicalPathMiddleware(MiddlewareMixin):
    """Make a trailing slash and the prefix ``/api/v1`` optional in the API's paths, without redirects.

    ``request.path`` remains as the client sent it, so links in responses have the client's prefix.
    """

    def process_request(self, request: HttpRequest) -> None:
        path = request.path_info
        if not path.startswith(_HAS_OWN_SLASHES):
            if path.startswith(f"{_API_PREFIX}/"):
                path = path.removeprefix(_API_PREFIX)
            request.path_info = path.removesuffix("/") or "/"
        if request.encoding:
            # JSON is UTF-8 whatever charset the Content-Type names, which may not even be a text encoding.
            request.encoding = "utf-8"


class PrivacyMiddleware(MiddlewareMixin):
    """Forbid caching, because most responses contain names and phones.

    Also deny pages the use of the camera, the location and the microphone.
    """

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        return response


class TimeZoneMiddleware:
    """Keep the API in UTC: only the pages of the admin are in the site's time zone."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith("/admin"):
            return self.get_response(request)
        with timezone.override(UTC):
            return self.get_response(request)


class FailureMiddleware(MiddlewareMixin):
    """Respond with 503 to errors that the request did not cause; ``errors.handle`` does so for REST framework."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        failed = errors.failure(error, request.method)
        if failed is None:
            return None
        logger.error("request failed", extra={"event": "request_failed"}, exc_info=error)
        return error_pages.unavailable(request, failed)


class InputMiddleware(MiddlewareMixin):
    """Clean the text in the query string of every request and in the forms of the admin.

    In the admin, also respond with 400 to values that PostgreSQL would refuse, such as NUL characters. Phones, IDs and
    the notes of flags keep their line breaks. Fields in AS_GIVEN and NUMBERS are not cleaned. Neither are hidden fields
    with the values that a form showed at first, because they are only compared with the new values.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if request.path_info.startswith("/admin"):
            if "\0" in request.path_info or _has_nul(request.GET) or _has_nul(request.POST):
                return HttpResponseBadRequest(error_pages.page("400_nul.html"))
            request.POST = _cleaned(request.POST)  # type: ignore[assignment]
        request.GET = _cleaned(request.GET)  # type: ignore[assignment]
        return None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        # Not every page with a list's filters is a list: the export, for example.
        is_refused = isinstance(exception, IncorrectLookupParameters) or errors.is_refused_by_database(exception)
        return error_pages.bad_request(request, exception) if is_refused else None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        # Django shows the whole list after a filter that it cannot apply, and the next action would change all of it.
        # After a page that does not exist, the whole list is what was asked for.
        is_filtered = not request.GET.keys() <= {PAGE_VAR, ORDER_VAR, SEARCH_VAR}
        if is_filtered and response.headers.get("Location") == f"{request.path}?{ERROR_FLAG}=1":
            return HttpResponseBadRequest(error_pages.page("400.html"))
        return response


def _has_nul(values: QueryDict) -> bool:
    return any("\0" in text for name, texts in values.lists() for text in (name, *texts))


def _cleaned(values: QueryDict) -> QueryDict:
    cleaned = values.copy()
    for name, texts in values.lists():
        if name not in NUMBERS and not name.startswith("initial-") and not any(part in name for part in AS_GIVEN):
            cleaned.setlist(name, list(map(_CLEANERS.get(name, clean), texts)))
    cleaned._mutable = False  # noqa: SLF001 (as Django does)
    return cleaned


def _clean_note(note: str) -> str:
    return "\n".join(map(clean, note.split("\n")))


_CLEANERS = dict.fromkeys(LINE_BY_LINE, clean_lines) | {"note": _clean_note}
