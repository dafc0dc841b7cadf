"""What every screen has in common: who may see it, and the admin's frame around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from employees.admin import admin_scope
from monitoring.rollout_control import FORCE, OPERATE, STOP

View = Callable[..., HttpResponse]

SEE = "monitoring.view_screens"
LOOK_UP = "monitoring.look_up_person"
SEE_COMPARISONS = "profiles.view_comparison"
SIGN = "monitoring.add_signature"

OF_PEOPLE = gettext_lazy(
    "You look after one university, and this page tells of the people of all of them: ask somebody who looks after the "
    "whole system."
)


def screen(permission: str) -> Callable[[View], View]:
    """Make a view a page of the admin, for those who hold the permission."""

    def wrap(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return admin.site.admin_view(guarded)

    return wrap


def requires_global_scope(view: View, why: Promise = OF_PEOPLE) -> View:
    """Refuse a page about all universities to whoever looks after one, and say why."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if admin_scope(request) is None:
            return view(request, *args, **kwargs)
        refused = page(request, "refused.html", _("Not for a single university"), why=why)
        refused.status_code = HTTPStatus.FORBIDDEN
        return refused

    return guarded


def page(request: HttpRequest, template: str, title: object, **context: Any) -> HttpResponse:
    frame = admin.site.each_context(request)
    return TemplateResponse(request, f"admin/screens/{template}", {**frame, "title": title, **context})


def may(request: HttpRequest) -> dict[str, bool]:
    """Return what the user may do, for templates that hide what they may not; ``all``: see pages of everybody."""
    names = {"operate": OPERATE, "force": FORCE, "stop": STOP, "sign": SIGN, "look_up": LOOK_UP, "see": SEE}
    allowed = {name: request.user.has_perm(permission) for name, permission in names.items()}
    return allowed | {"all": admin_scope(request) is None}
