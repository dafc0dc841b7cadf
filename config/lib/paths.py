from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

_PREFIX = "/api/v1"
_OWN_SLASHES = ("/admin", "/static/")


class CanonicalPathMiddleware:
    """Let one URL pattern serve a path bare, with a trailing slash and under ``/api/v1``, without a redirect.

    ``request.path`` keeps what the client sent, so links in answers stay under the client's prefix.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path = request.path_info
        if not path.startswith(_OWN_SLASHES):
            if path.startswith(f"{_PREFIX}/"):
                path = path.removeprefix(_PREFIX)
            request.path_info = path.removesuffix("/") or "/"
        if request.encoding:
            # JSON is UTF-8 whatever the Content-Type claims; some names that it may claim are no text encodings.
            request.encoding = "utf-8"
        return self.get_response(request)
