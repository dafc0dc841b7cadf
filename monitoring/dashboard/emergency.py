"""The red button: everything back to the direct API, and the proof that it is so."""

from __future__ import annotations

import time
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from config.lib.messages import Message
from monitoring.dashboard.access import STOP, page, screen
from monitoring.dashboard.change_phase import preview_of, request_of
from monitoring.rollout_control import rollback
from monitoring.rollout_control.rollback import Behind, NotVerified
from profiles.rollout import changes, presenters
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Action, Rollout
from profiles.rollout.rules import ChangeRefused


def confirmation() -> str:
    """Return the word to type, in the reader's language."""
    return _("STOP")


@screen(STOP)
def stop(request: HttpRequest) -> HttpResponse:
    context: dict[str, Any] = {"word": confirmation(), "reason": request.POST.get("reason", "")}
    if request.method == "POST":
        try:
            return page(request, "stopped.html", _("Emergency stop"), **_stopped(request))
        except ChangeRefused as refused:
            context["refusal"] = str(refused)
    planned = preview_of(Action.EMERGENCY)
    context |= {"lines": presenters.outcome(planned), "is_change": planned.is_change}
    return page(request, "emergency.html", _("Emergency stop"), rollout=Rollout.current(), **context)


def _stopped(request: HttpRequest) -> dict[str, Any]:
    """Stop, prove it and tell how long that took."""
    if request.POST.get("word", "").strip().casefold() != confirmation().casefold():
        raise ChangeRefused(Message("Type the word to confirm"))
    started = time.perf_counter()
    outcome = changes.apply(request_of(request, Action.EMERGENCY))
    took = time.perf_counter() - started
    proof, doubt = "", ""
    try:
        # The last proof says the processes, which are told here in the reader's language.
        proof, *_rest = rollback.verify("emergency")
    except Behind:
        doubt = _("Not every process has followed yet.")
    except NotVerified as unproven:
        doubt = str(unproven)
    return {
        "lines": presenters.outcome(outcome),
        "proof": proof,
        "spread": presenters.spread(convergence()),
        "doubt": doubt,
        "took": took,
        "took_verified": time.perf_counter() - started,
    }
