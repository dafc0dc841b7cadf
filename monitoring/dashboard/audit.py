from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from config.lib.scope import requires_global_scope
from monitoring.audit.audit_log import SOURCES, entries
from monitoring.dashboard.access import page, screen

SEE_AUDIT = "monitoring.view_audit"
PAGE = 50


@screen(SEE_AUDIT)
@requires_global_scope
def trail(request: HttpRequest) -> HttpResponse:
    """All that was recorded, of all who did something; older entries by their moment, so that no page gets slower."""
    kind, by = request.GET.get("kind", ""), request.GET.get("by", "").replace("\0", "").strip()[:150]
    found = entries(kind=kind, by=by, before=_moment(request.GET.get("before", "")), limit=PAGE + 1)
    shown: list[Any] = found[:PAGE]
    older = ""
    if len(found) > PAGE:
        older = urlencode({"kind": kind, "by": by, "before": shown[-1].at.isoformat()})
    rows = [(entry, SOURCES[entry.kind]) for entry in shown]
    context = {"rows": rows, "sources": SOURCES, "kind": kind, "by": by, "older": older}
    return page(request, "audit.html", _("Audit log"), **context)


def _moment(text: str) -> datetime | None:
    try:
        moment = parse_datetime(text.replace(" ", "+"))
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None
