"""The guide's migration checklist: what a machine sees, and what waits for a signature."""

from __future__ import annotations

from itertools import groupby

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from monitoring.dashboard.access import SEE_ROLLOUT, SIGN, may, page, screen
from monitoring.indicators import rounds
from monitoring.rollout_control import checklist
from monitoring.rollout_control.models import Signature


@screen(SEE_ROLLOUT)
def items(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        _sign(request)
        return HttpResponseRedirect(reverse("screens:checklist"))
    return page(request, "checklist.html", _("Checklist"))


def _sign(request: HttpRequest) -> None:
    if not request.user.has_perm(SIGN):
        raise PermissionDenied
    item, note = request.POST.get("item", ""), request.POST.get("note", "").strip()[:500]
    if item not in dict(checklist.TO_SIGN) or not note:
        messages.error(request, _("Say by a note what you sign for"))
        return
    until = timezone.now() + checklist.SIGNED_FOR
    Signature.objects.create(item=item, note=note, by=request.user, expires_at=until)  # type: ignore[misc]
    messages.success(request, _("Signed: %s") % dict(checklist.TO_SIGN)[item])


@screen(SEE_ROLLOUT)
def checklist_status(request: HttpRequest) -> HttpResponse:
    """Show how every item stands; the page asks for it once it is shown."""
    readings = rounds.latest()
    found = checklist.checklist_status(readings)
    sections = [(section, list(group)) for section, group in groupby(found, key=lambda one: one.item.section)]
    done = sum(standing.is_done for standing in found)
    context = {"sections": sections, "done": done, "total": len(found), "measured": readings}
    return TemplateResponse(request, "admin/screens/checklist_items.html", context | {"may": may(request)})
