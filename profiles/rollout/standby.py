"""Stops and pauses succeed, with a note, if a synchronous standby is lost; all other changes wait for the standby."""

from collections.abc import Callable
from dataclasses import replace

from django.db import OperationalError, connection, transaction

from config.lib.messages import Message, join_messages
from config.postgres.base import GRACE_SECONDS, NOT_CONFIRMED, WRITE_TO_LOG, statement_deadline, without_standby
from config.postgres.locks import commit_here, limit_commit
from profiles.rollout.change_request import ChangeRequest
from profiles.rollout.models import Action
from profiles.rollout.rollout_settings import ChangeResult

HERE_ONLY = Message(NOT_CONFIRMED)
_URGENT = (Action.EMERGENCY, Action.PAUSE, Action.ROLL_BACK)
_CONFIRM_SECONDS = 1.0


def limit_commit_of(request: ChangeRequest) -> None:
    """Let the current transaction end without the standby if the request stops or pauses the rollout.

    Any other transaction takes effect on this server, and then waits for the standby for a limited time.
    """
    if request.action in _URGENT:
        commit_here()
    else:
        limit_commit()


def confirmed(result: ChangeResult, request: ChangeRequest) -> ChangeResult:
    """Return the result of a change with ``is_here_only`` set if the standby does not confirm a stop or a pause."""
    is_over = request.action in _URGENT and not request.is_dry_run and not connection.in_atomic_block
    return replace(result, is_here_only=is_over and not is_confirmed())


def with_note(message: Message) -> Message:
    """Return the message about a change that is stored, with HERE_ONLY if the standby does not confirm it."""
    return message if connection.in_atomic_block or is_confirmed() else join_messages([message, HERE_ONLY])


def warn_after_commit(warn: Callable[[str], object]) -> None:
    """Call ``warn`` with HERE_ONLY after the commit of the current transaction, if the standby does not confirm it."""
    transaction.on_commit(lambda: None if is_confirmed() else warn(str(HERE_ONLY)))


def is_confirmed() -> bool:
    """Return whether the standby confirms, within _CONFIRM_SECONDS, all that this server has stored so far."""
    try:
        with (
            without_standby(is_lost=False),
            statement_deadline(_CONFIRM_SECONDS, grace=GRACE_SECONDS),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(WRITE_TO_LOG)
    except OperationalError:
        return not _has_standby()
    return True


def _has_standby() -> bool:
    """Return whether commits may wait for a standby; if none can, the server itself is slow."""
    try:
        with statement_deadline(_CONFIRM_SECONDS, grace=GRACE_SECONDS), connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('synchronous_standby_names')")
            return bool(cursor.fetchone() != ("",))
    except OperationalError:
        return True
