"""The way back: each part alone or all at once, and the proof that it is in force. PostgreSQL is all it needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db import ProgrammingError, connection
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib.messages import Message
from employees.models import OPEN, BackfillRun, RunStatus
from monitoring.rollout_control.terminal import converged
from profiles.lookup import resolve
from profiles.models import ProfileSource
from profiles.name_rule import NameChoice
from profiles.rollout import changes
from profiles.rollout.change_request import ChangeRequest
from profiles.rollout.decision import Reason, decide, forget_state, is_collecting, is_monitored, is_processing
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Action, UniversityRule
from profiles.rollout.rules import ChangeRefused

VERIFIED_WITHIN = 4.5
PROBE_SECONDS = 1.5
# A number that is given to nobody; the direct API may be asked for it, and knows nothing.
PROBE_PHONE = "+70000000000"
REHEARSAL_LIMIT = timedelta(minutes=5)


class NotVerified(Exception):
    """What was changed is written, but not proven to be in force."""


class Behind(NotVerified):
    """Some process has not seen the change; the text is the commands', a page tells the same by words.spread()."""


def verify(part: str) -> Iterator[str]:
    """Prove that a rollback is in force, a line for each proof; raise NotVerified when one fails."""
    forget_state()
    yield _CHECKS[part]()
    if part == "emergency":
        yield from _open_backfills()
    yield await_convergence()


def _open_backfills() -> Iterator[str]:
    # Where the schema has gone back there is no such table.
    with suppress(ProgrammingError):
        for run in BackfillRun.objects.filter(status__in=OPEN):
            yield _OPEN_RUNS[RunStatus(run.status)] % run.pk


def await_convergence(seconds: float = VERIFIED_WITHIN) -> str:
    """Wait until every living process has seen the rollout's revision; one that falls silent is not waited for."""
    deadline = time.monotonic() + seconds
    while not (spread := convergence()).is_complete:
        if time.monotonic() > deadline:
            raise Behind(converged(spread))
        time.sleep(0.05)
    return converged(spread)


def _emergency_holds() -> str:
    decision = decide(PROBE_PHONE)
    if decision.stage or decision.reason not in (Reason.KILLED, Reason.HARD_OFF):
        raise NotVerified(_("a lookup would still go to the cache: %(reason)s") % {"reason": decision.reason.label})
    if is_collecting() or is_processing():
        raise NotVerified(_("updates would still be processed"))
    return _("probe lookup: %s") % _probe()


def _cache_is_out() -> str:
    decision = decide(PROBE_PHONE)
    if decision.stage:
        raise NotVerified(_("a lookup would still go to the cache: %(reason)s") % {"reason": decision.reason.label})
    return _("probe lookup: %s") % _probe()


def _webhook_waits() -> str:
    if is_processing():
        raise NotVerified(_("updates would still be processed"))
    return _("updates are stored and wait")


def _reports_are_gone() -> str:
    if is_monitored():
        raise NotVerified(_("the reports still answer"))
    return _("the reports answer 404 and the gates are inconclusive")


def _probe() -> str:
    """Look a person up by the resolver itself; it must not answer from the cache. A slow direct API is not awaited."""
    found: list[NameChoice] = []

    def look_up() -> None:
        try:
            found.append(resolve(phone=PROBE_PHONE, max_id=None, university_id=None))
        finally:
            connection.close()

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    if thread.is_alive():
        return _("the direct API is asked, and has not answered yet")
    if not found or found[0].source not in _ANSWERS:
        raise NotVerified(_("the probe lookup was answered by the cache, or not at all"))
    return str(_ANSWERS[ProfileSource(found[0].source)])


# Who may answer for the probe. The documents record what the commands say of nobody.
_ANSWERS = {
    ProfileSource.API: gettext_lazy("answered by the direct API, not by the cache"),
    ProfileSource.DEFAULT: gettext_lazy("answered by default, not by the cache"),
}
_OPEN_RUNS = {
    RunStatus.RUNNING: gettext_lazy("backfill %d ends with the batch that it is at"),
    RunStatus.PAUSED: gettext_lazy("backfill %d is paused"),
    RunStatus.UNDOING: gettext_lazy("backfill %d is being undone, and goes on with that"),
}
_CHECKS: dict[str, Callable[[], str]] = {
    "emergency": _emergency_holds,
    "webhook": _webhook_waits,
    "cache": _cache_is_out,
    "monitoring": _reports_are_gone,
}


def rehearse(university_id: int, request: ChangeRequest) -> dict[str, Any]:
    """Take one university out of the cache and back, timed; the success is a gate of phase 3."""
    if UniversityRule.objects.filter(university_id=university_id, phase=3, is_allowed=False).exists():
        words = {"id": university_id}
        raise ChangeRefused(Message("University %(id)d is kept out already: rehearse with another one", words))
    started = time.perf_counter()
    until = timezone.now() + REHEARSAL_LIMIT
    scope = UniversityRule(university_id=university_id, phase=3, expires_at=until)
    changes.apply(replace(request, action=Action.SCOPE, rule=scope))
    request = replace(request, expected_revision=None)
    try:
        forget_state()
        decision = decide(PROBE_PHONE, university_id)
        if decision.stage >= 3:
            raise NotVerified(_("the university would still be served by the cache"))
        out = await_convergence()
        took_out = time.perf_counter() - started
    finally:
        changes.apply(replace(request, action=Action.SCOPE, rule=scope, is_on=False))
    back = await_convergence()
    took = time.perf_counter() - started
    facts = {
        "university": university_id,
        "out_s": round(took_out, 2),
        "total_s": round(took, 2),
        "out": out,
        "back": back,
    }
    changes.apply(replace(request, facts=facts))
    return facts
