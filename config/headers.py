from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

_FRAMES = "frame-ancestors 'none'; base-uri 'none'"
_DATA = f"default-src 'none'; form-action 'none'; {_FRAMES}"
_OWN = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'"
_POLICIES = {
    # The admin's theme runs Alpine, which compiles the expressions of its attributes.
    "/admin": f"{_OWN}; script-src 'self' 'unsafe-eval'; form-action 'self'; {_FRAMES}",
    "/swagger": f"{_OWN}; form-action 'self'; {_FRAMES}",
}


class ContentSecurityMiddleware:
    """Say what a browser may load: a page's own files, and nothing at all beside the API's JSON."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        policy = next((policy for prefix, policy in _POLICIES.items() if request.path_info.startswith(prefix)), _DATA)
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        response.headers.setdefault("Cache-Control", "no-store")
        return response
