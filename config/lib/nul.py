from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, QueryDict

from config.lib import error_pages


class NoNulMiddleware:
    """Refuse a NUL in an address or a form of the admin: PostgreSQL has no such text, and its lists would fail on it.

    Forms refuse it too, but for filters, searches and ids, which become conditions unread.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith("/admin") and _has_nul(request):
            return HttpResponseBadRequest(error_pages.page("400_nul.html"))
        return self.get_response(request)


def _has_nul(request: HttpRequest) -> bool:
    return "\0" in request.path_info or _holds(request.GET) or _holds(request.POST)


def _holds(values: QueryDict) -> bool:
    return any("\0" in text for name, texts in values.lists() for text in (name, *texts))
