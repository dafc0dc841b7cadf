from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from config.lib import shell_user
from config.lib.scope import requires_global_scope
from monitoring.audit.audit_log import SOURCES, entries
from monitoring.dashboard.access import SEE_AUDIT, page, screen

PAGE = 50


@screen(SEE_AUDIT)
@requires_global_scope
def audit_log(request: HttpRequest) -> HttpResponse:
    """Show a page of the audit log. Older pages are selected by time (``before``), and load as fast as the first."""
    kind, by = request.GET.get("kind", ""), request.GET.get("by", "").replace("\0", "").strip()[:150]
    try:
        # The plus sign of a time zone is decoded as a space in a query string.
        before = parse_datetime(request.GET.get("before", "").replace(" ", "+"))
    except ValueError:
        before = None
    if before and before.tzinfo is None:
        before = None
    latest = entries(kind=kind, by=by, before=before, limit=PAGE + 1)
    shown: list[Any] = latest[:PAGE]
    older = ""
    if len(latest) > PAGE:
        older = urlencode({"kind": kind, "by": by, "before": shown[-1].at.isoformat()})
    rows = [(replace(entry, by=shell_user.displayed(entry.by)), SOURCES[entry.kind]) for entry in shown]
    context = {"rows": rows, "sources": SOURCES, "kind": kind, "by": by, "older": older}
    return page(request, "audit.html", _("Audit log"), **context)
