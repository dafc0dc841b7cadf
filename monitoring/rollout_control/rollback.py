"""Verify that a rollback is in force, and rehearse a rollback with one university. Only PostgreSQL is needed."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, OperationalError, ProgrammingError, connection
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib.messages import Message
from config.postgres.base import statement_deadline
from employees.models import OPEN, BackfillRun, RunStatus
from profiles.lookup import resolve
from profiles.models import ProfileSource
from profiles.name_rule import NameChoice
from profiles.rollout import changes, presenters, standby
from profiles.rollout.change_request import ChangeRequest
from profiles.rollout.decision import Reason, decide, forget_state, is_collecting, is_monitored, is_processing
from profiles.rollout.heartbeat import convergence
from profiles.rollout.models import Action, UniversityRule, university_name
from profiles.rollout.rules import ChangeRefused

VERIFIED_WITHIN = 4.5
PROBE_SECONDS = 1.5
_SPARE_SECONDS = 0.5  # for PostgreSQL to answer the last statement, or to cancel it
# Nobody has this phone, so sending it to the direct API is harmless.
PROBE_PHONE = "+70000000000"
REHEARSAL_LIMIT = timedelta(minutes=5)

_SOURCES = {
    ProfileSource.API: gettext_lazy("probe lookup: the direct API answered, not the cache"),
    ProfileSource.DEFAULT: gettext_lazy("probe lookup: no name found; the cache was not queried"),
}
_OPEN_RUNS = {
    RunStatus.RUNNING: gettext_lazy("backfill %d will pause after its current batch"),
    RunStatus.PAUSED: gettext_lazy("backfill %d is paused"),
    RunStatus.UNDOING: gettext_lazy("backfill %d is restoring earlier names; the stop does not pause it"),
}


STOP_VERIFIED = gettext_lazy("verified: the stop has taken effect everywhere")
# For people who may not view the rollout, and so may not see the reason.
STOP_NOT_VERIFIED = gettext_lazy(
    "not verified: the stop is saved, but a check could not confirm that it has taken effect everywhere. Repeat the"
    " stop, or ask somebody who may view the rollout to check it."
)


class NotVerified(Exception):
    """Raised when a change was written, but a check could not confirm that it is in force."""


@contextmanager
def _answered() -> Iterator[None]:
    """Run the block; raise NotVerified if PostgreSQL fails, or takes clearly longer than VERIFIED_WITHIN."""
    try:
        with statement_deadline(VERIFIED_WITHIN + _SPARE_SECONDS):
            yield
    except OperationalError:
        raise NotVerified(_("PostgreSQL did not answer the check")) from None


def verify(part: str) -> Iterator[str]:
    """Check that a part's rollback is in force: yield a line for each passed check; raise NotVerified if one fails."""
    forget_state()
    if part == "webhook":
        if is_processing():
            raise NotVerified(_("the processing of updates is still on"))
        yield _("updates are stored and wait to be processed")
    elif part == "monitoring":
        if is_monitored():
            raise NotVerified(_("the reports are still available"))
        yield _("monitoring is off: the reports return 404, and the gates are inconclusive")
    else:
        yield _cache_is_out(part == "emergency")
    if part == "emergency":
        # After a schema rollback this table may be missing.
        with suppress(ProgrammingError), _answered():
            for run in BackfillRun.objects.filter(status__in=OPEN):
                yield _OPEN_RUNS[RunStatus(run.status)] % run.pk
    yield await_convergence()


@_answered()
def _cache_is_out(is_emergency: bool) -> str:
    decision = decide(PROBE_PHONE)
    is_off = decision.reason in (Reason.KILLED, Reason.HARD_OFF) or not is_emergency
    if decision.stage or not is_off:
        raise NotVerified(_("the cache is still on: %(reason)s") % {"reason": decision.reason.label})
    if is_emergency and (is_collecting() or is_processing()):
        raise NotVerified(_("the processing of updates is still on"))
    return _probe()


def _probe() -> str:
    """Return which source answers a lookup of PROBE_PHONE; raise NotVerified if the cache does or the lookup fails."""
    choices: list[NameChoice] = []

    def look_up() -> None:
        try:
            with suppress(DatabaseError), statement_deadline(PROBE_SECONDS):
                choices.append(resolve(phone=PROBE_PHONE, max_id=None, university_id=None))
        finally:
            connection.close()

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    # A lookup that takes longer waits only for the direct API.
    thread.join(PROBE_SECONDS + _SPARE_SECONDS)
    if thread.is_alive():
        return _("probe lookup: the direct API was queried and has not responded yet")
    if not choices or choices[0].source not in _SOURCES:
        raise NotVerified(_("the probe lookup was answered by the cache, or failed"))
    return str(_SOURCES[ProfileSource(choices[0].source)])


@_answered()
def await_convergence() -> str:
    """Wait until all processes apply the last change; return a message. Raise NotVerified after VERIFIED_WITHIN."""
    deadline = time.monotonic() + VERIFIED_WITHIN
    # While heartbeats wait for a lost standby, processes look silent although they work.
    while not (spread := convergence()).is_complete or (spread.silent and not standby.is_confirmed()):
        if time.monotonic() > deadline:
            raise NotVerified(presenters.convergence(spread))
        time.sleep(0.05)
    # Leave out the seconds: the receipt and the command show the time since the request.
    return presenters.convergence(replace(spread, seconds=None))


def rehearse(university_id: int, request: ChangeRequest) -> dict[str, Any]:
    """Deny the cache to a university and allow it again; return its ID and the seconds until each took effect."""
    denial = {"university_id": university_id, "phase": 3, "is_allowed": False}
    if UniversityRule.objects.in_force().filter(**denial).exists():
        name = {"university": university_name(university_id)}
        raise ChangeRefused(Message("A rule already excludes %(university)s: choose another university", name))
    started = time.perf_counter()
    # Reuse an expired rule, which stays stored: there can be only one rule of this kind.
    rule = UniversityRule.objects.filter(**denial).first() or UniversityRule(**denial)
    rule.expires_at = timezone.now() + REHEARSAL_LIMIT
    try:
        # Inside ``try``: if no standby confirms the change, this raises an error although the change is in force.
        changes.apply(replace(request, action=Action.SCOPE, rule=rule))
        forget_state()
        if decide(PROBE_PHONE, university_id).stage >= 3:
            raise NotVerified(_("the change has no effect: names at the university still come from the cache"))
        await_convergence()
        out_s = time.perf_counter() - started
    finally:
        request = replace(request, expected_revision=None)
        if UniversityRule.objects.in_force().filter(pk=rule.pk).exists():
            own = {"university": university_id}
            changes.apply(replace(request, action=Action.SCOPE, rule=rule, is_on=False, facts=own))
    await_convergence()
    total_s = time.perf_counter() - started
    facts = {"university": university_id, "out_s": round(out_s, 2), "total_s": round(total_s, 2)}
    changes.apply(replace(request, facts=facts))
    return facts
