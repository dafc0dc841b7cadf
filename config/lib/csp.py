from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest, HttpResponseBase

# What Alpine needs, which the admin's theme is made with, to read its attributes.
_ADMIN = {"script-src": "'unsafe-eval'"}


class PolicyMiddleware(CSPMiddleware):
    """Sends one policy with every page, a little wider in the admin."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.path_info.startswith("/admin") and parts.update is None:
            parts.update = _ADMIN
        return parts
