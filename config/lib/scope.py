"""The scope of a request: which universities its user may see. ``employees.middleware`` sets it for every request."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Protocol

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

View = Callable[..., HttpResponse]

ALL_PEOPLE = gettext_lazy(
    "Your account is limited to one university, but this page covers people at all universities. Ask a colleague whose "
    "account has no such limit."
)

NOT_COVERED = gettext_lazy(
    "This person is or was employed at another university too, and an erasure would clear the name there as well. Ask "
    "a data protection officer whose account is not limited to one university."
)


class RequestScope(Protocol):
    @property
    def sees_all(self) -> bool: ...

    def universities(self) -> QuerySet[Any]: ...

    def university_ids(self) -> set[int] | None: ...

    def profiles(self) -> QuerySet[Any]: ...

    def covers(self, user_id: str) -> bool: ...


def scope_of(request: HttpRequest) -> RequestScope:
    scope: RequestScope = request.scope  # type: ignore[attr-defined]
    return scope


def requires_global_scope(view: View, why: Promise = ALL_PEOPLE) -> View:
    """Limit a view to users who see all universities; other users get a 403 page that shows ``why``."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return view(request, *args, **kwargs) if scope_of(request).sees_all else refusal(request, why)

    return guarded


def refusal(request: HttpRequest, why: Promise) -> HttpResponse:
    """Return the 403 page, with the reason ``why``, for users who are limited to one university."""
    title = _("Not available to accounts that are limited to one university")
    context = admin.site.each_context(request) | {"title": title, "why": why}
    return TemplateResponse(request, "admin/refused.html", context, status=HTTPStatus.FORBIDDEN)
