"""The permissions of the dashboard's pages, and functions to check them and to render a page within the admin."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from config.lib.scope import View, scope_of
from monitoring.rollout_control import FORCE, OPERATE, STOP
from monitoring.rollout_control.approvals import Decider
from monitoring.rollout_control.models import Signature
from profiles.rollout.models import Approval, ApprovalQuerySet

SEE = "monitoring.view_screens"
LOOK_UP = "monitoring.look_up_person"
SEE_AUDIT = "monitoring.view_audit"
SEE_COMPARISONS = "profiles.view_comparison"
SIGN = "monitoring.add_signature"


def screen(permission: str) -> Callable[[View], View]:
    """Return a decorator that turns a view into an admin page which requires the permission."""

    def wrap(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return admin.site.admin_view(guarded)

    return wrap


def page(request: HttpRequest, template: str, title: object, **context: Any) -> HttpResponse:
    frame = admin.site.each_context(request)
    return TemplateResponse(request, f"admin/screens/{template}", {**frame, "title": title, **context})


def may(request: HttpRequest) -> dict[str, bool]:
    """Return whether the user may perform each action, for templates; ``all`` means access to all universities."""
    names = {"operate": OPERATE, "force": FORCE, "stop": STOP, "look_up": LOOK_UP, "see": SEE}
    allowed = {name: request.user.has_perm(permission) for name, permission in names.items()}
    sees_all = scope_of(request).sees_all
    # A user who is limited to one university may rehearse a rollback with it, but may change nothing for all of them.
    limited = {
        "operate": allowed["operate"] and sees_all,
        "sign": admin.site.get_model_admin(Signature).has_add_permission(request),
    }
    return allowed | limited | {"rehearse": allowed["operate"], "all": sees_all}


def visible_requests(user: Any) -> ApprovalQuerySet:
    """Return the requests for approval that the user may see.

    They are the user's own requests, and those that concern the user's universities or all universities.
    """
    decider = Decider.of(user)
    return Approval.objects.visible_to(decider.person, decider.universities)
