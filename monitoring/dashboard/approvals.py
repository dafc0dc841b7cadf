"""The page of a change that waits for approval: what it would change now, and the forms to approve or refuse it."""

from dataclasses import replace

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _

from monitoring.dashboard.access import page, screen, visible_requests
from monitoring.rollout_control import OPERATE
from monitoring.rollout_control.approvals import VERDICTS, Decider
from monitoring.rollout_control.presenters import failed_gates
from profiles.rollout import changes, presenters, rules
from profiles.rollout.approvals import request_of
from profiles.rollout.models import Approval, ApprovalState, Rollout
from profiles.rollout.presenters import audit_rows
from profiles.rollout.rules import ChangeRefused


@screen(OPERATE)
def review(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a request for approval; on POST, approve it, refuse it, or withdraw it if it is the user's own."""
    decider = Decider.of(request.user)
    approval = get_object_or_404(visible_requests(request.user), pk=pk)
    reason, refusal = request.POST.get("reason", ""), ""
    if request.method == "POST":
        decide = VERDICTS.get(request.POST.get("verdict", ""), VERDICTS["refuse"])
        try:
            result = decide(pk, decider, reason, expected_revision=request.POST.get("revision"))
            done = presenters.outcome(result) if decide is VERDICTS["approve"] else [_("The request is closed.")]
            messages.success(request, "; ".join(done))
            return HttpResponseRedirect(reverse("screens:rollout"))
        except ChangeRefused as refused:
            refusal = str(refused)
    change = request_of(approval)
    try:
        result = changes.preview(change)
        lines, outdated = presenters.outcome(replace(result, needs_approval=False)) if result.is_change else [], ""
    except ChangeRefused as refused:
        lines, outdated = [], str(refused)
    context = {
        "approval": approval,
        "what": audit_rows.change(approval),
        "lines": lines,
        "outdated": outdated,
        "phase": rules.phase_number(change.phase) if change.phase else 0,
        "percent": rules.format_percent(change.percent),
        "failed_gates": failed_gates(approval),
        "is_waiting": Approval.objects.waiting().filter(pk=pk).exists(),
        "is_own": change.is_by(decider.person),
        "may_decide": decider.may_decide(approval),
        "rollout": Rollout.current(),
        "reason": reason,
        "refusal": refusal,
        "state": ApprovalState(approval.state).label,
    }
    return page(request, "approval.html", _("Request for approval"), **context)
