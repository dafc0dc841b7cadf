"""What is done to a backfill after it was confirmed: pause, resume, retry, undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from employees.backfill import batches
from employees.models import BackfillRun, RunStatus

STEER, UNDO = "employees.change_backfillrun", "employees.delete_backfillrun"


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that is done to a run, after it was confirmed: what it says, when it may be, who may do it.

    ``act`` takes the run and the reason, and returns what it did in words.
    """

    title: Promise
    warning: Promise
    statuses: list[RunStatus]
    permission: str
    act: Callable[[BackfillRun, str], str]
    button: Promise | None = None


def _pause(run: BackfillRun, reason: str) -> str:
    BackfillRun.objects.filter(pk=run.pk).pause(reason)
    return _("Backfill %d is paused.") % run.pk


def _resume(run: BackfillRun, reason: str) -> str:
    run.resume()
    return _("Backfill %d goes on.") % run.pk


def _retry(run: BackfillRun, reason: str) -> str:
    done = batches.retry_failed(run)
    return ngettext("%d failed batch is done now.", "%d failed batches are done now.", done) % done


def _undo(run: BackfillRun, reason: str) -> str:
    run.undo()
    return _("Backfill %d: the names are being given back.") % run.pk


ACTIONS = {
    "pause": Deed(
        gettext_lazy("Pause"),
        gettext_lazy("It stops before its next batch; nothing is lost, and it can be resumed."),
        [RunStatus.RUNNING],
        STEER,
        _pause,
    ),
    "resume": Deed(
        gettext_lazy("Resume"), gettext_lazy("It goes on where it stopped."), [RunStatus.PAUSED], STEER, _resume
    ),
    "retry": Deed(
        gettext_lazy("Retry failed batches"),
        gettext_lazy("The batches that failed are done once more, now."),
        [RunStatus.PAUSED, RunStatus.DONE],
        STEER,
        _retry,
    ),
    "undo": Deed(
        gettext_lazy("Undo"),
        gettext_lazy("Employees whom this run renamed get their old names back, unless they were changed since."),
        [RunStatus.PAUSED, RunStatus.DONE],
        UNDO,
        _undo,
        # In Russian “Undo” and “Cancel” are one word, side by side.
        gettext_lazy("Give the earlier names back"),
    ),
}
