"""The page of the migration checklist, where people sign the items that cannot be measured."""

from itertools import groupby

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib.scope import refusal
from monitoring.dashboard.access import SIGN, may, page, screen
from monitoring.indicators import rounds
from monitoring.rollout_control import SEE_ROLLOUT
from monitoring.rollout_control.guide import checklist
from monitoring.rollout_control.models import Signature

_WHOLE_NETWORK = gettext_lazy(
    "Your account is limited to one university, but the checklist covers all universities. Ask a colleague whose"
    " account has no such limit."
)


@screen(SEE_ROLLOUT)
def items(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return page(request, "checklist.html", _("Checklist"))
    if not request.user.has_perm(SIGN):
        raise PermissionDenied
    if not may(request)["sign"]:
        return refusal(request, _WHOLE_NETWORK)
    item, note = request.POST.get("item", ""), request.POST.get("note", "").strip()[:500]
    if item in dict(checklist.TO_SIGN) and note:
        until = timezone.now() + checklist.SIGNATURE_LASTS
        Signature.objects.create(item=item, note=note, by=request.user, expires_at=until)  # type: ignore[misc]
        messages.success(request, _("Signed: %s") % dict(checklist.TO_SIGN)[item])
    else:
        messages.error(request, _("Choose an item and describe what was done."))
    return HttpResponseRedirect(reverse("screens:checklist"))


@screen(SEE_ROLLOUT)
def checklist_status(request: HttpRequest) -> HttpResponse:
    """Show the status of every item, as a fragment of the checklist page."""
    readings = rounds.latest()
    statuses = checklist.checklist_status(readings)
    sections = [(section, list(group)) for section, group in groupby(statuses, key=lambda status: status.section)]
    done = sum(status.is_done for status in statuses)
    context = {"sections": sections, "done": done, "total": len(statuses), "measured": readings, "may": may(request)}
    return TemplateResponse(request, "admin/screens/checklist_items.html", context)
