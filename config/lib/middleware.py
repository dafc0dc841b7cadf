"""The project's middleware."""

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase, QueryDict
from django.utils.deprecation import MiddlewareMixin

from config.lib import error_pages

_API_PREFIX = "/api/v1"
_HAS_OWN_SLASHES = ("/admin", "/static/")


class ClientAddressMiddleware(MiddlewareMixin):
    """Set REMOTE_ADDR to the client's address as our own proxies report it.

    Each proxy appends the address that it sees to X-Forwarded-For. Behind TRUSTED_PROXIES of them the client's address
    is that many from the right; the client could have written whatever stands before it.
    """

    def process_request(self, request: HttpRequest) -> None:
        addresses = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if 0 < settings.TRUSTED_PROXIES <= len(addresses) and (address := addresses[-settings.TRUSTED_PROXIES].strip()):
            request.META["REMOTE_ADDR"] = address


class PolicyMiddleware(CSPMiddleware):
    """Send the content security policy; in the admin, Alpine has to evaluate the attributes of the theme."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.path_info.startswith("/admin") and parts.update is None:
            parts.update = {"script-src": "'unsafe-eval'"}
        return parts


class CanonicalPathMiddleware(MiddlewareMixin):
    """Serve a path with and without a trailing slash, and under ``/api/v1``, by one URL pattern and no redirect.

    ``request.path`` keeps what the client sent, so links in responses stay under the client's prefix.
    """

    def process_request(self, request: HttpRequest) -> None:
        path = request.path_info
        if not path.startswith(_HAS_OWN_SLASHES):
            if path.startswith(f"{_API_PREFIX}/"):
                path = path.removeprefix(_API_PREFIX)
            request.path_info = path.removesuffix("/") or "/"
        if request.encoding:
            # JSON is UTF-8 whatever the Content-Type claims; some names that it may claim are no text encodings.
            request.encoding = "utf-8"


class PrivacyMiddleware(MiddlewareMixin):
    """Forbid caches to store a response: most of them contain names and phones."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        return response


class NoNulMiddleware(MiddlewareMixin):
    """Refuse a NUL in an address or a form of the admin: PostgreSQL cannot store it, so a query with it would fail.

    Forms check their fields, but filters, searches and ids reach queries unchecked.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if request.path_info.startswith("/admin") and (
            "\0" in request.path_info or _has_nul(request.GET) or _has_nul(request.POST)
        ):
            return HttpResponseBadRequest(error_pages.page("400_nul.html"))
        return None


def _has_nul(values: QueryDict) -> bool:
    return any("\0" in text for name, texts in values.lists() for text in (name, *texts))
