from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


class ClientAddressMiddleware:
    """Make REMOTE_ADDR the client's: as our own proxies report it, and never as the client does.

    Each proxy appends the address that it sees to X-Forwarded-For: behind TRUSTED_PROXIES of them the client's is that
    many from the right. Whatever stands before it was written by the client.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        seen = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if 0 < settings.TRUSTED_PROXIES <= len(seen) and (address := seen[-settings.TRUSTED_PROXIES].strip()):
            request.META["REMOTE_ADDR"] = address
        return self.get_response(request)
