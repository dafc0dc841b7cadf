from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin

from employees.credentials import second_factor

# The pages needed to log in, to give a code or set up a second factor, and to log out.
_OPEN = {
    *("account_login", "account_reauthenticate", "mfa_reauthenticate", "mfa_activate_totp", "mfa_authenticate"),
    *("openid_connect_login", "openid_connect_callback", "set_language", "admin:logout", "admin:jsi18n"),
}


class SecondFactorMiddleware(MiddlewareMixin):
    """In the admin, redirect users whose session lacks a required second factor to the page where they enter a code.

    Users who have not set up a second factor are redirected to the page where they set it up. Outside the admin, treat
    the user of such a session as anonymous.
    """

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        if not settings.ADMIN_MFA_REQUIRED or settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return None
        name = request.resolver_match.view_name if request.resolver_match else ""
        if name in _OPEN or not lacks_second_factor(request):
            return None
        if not request.path_info.startswith("/admin/"):
            request.user = AnonymousUser()
            return None
        page = reverse("mfa_reauthenticate" if second_factor.is_set_up(request.user) else "mfa_activate_totp")
        query = f"?{urlencode({'next': request.get_full_path()})}" if request.method == "GET" else ""
        return HttpResponseRedirect(f"{page}{query}")


def lacks_second_factor(request: HttpRequest) -> bool:
    user = request.user
    return user.is_authenticated and not second_factor.is_proven(request, user) and second_factor.is_needed(user)
