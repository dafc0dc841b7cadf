"""What a change does if a synchronous standby is lost: a stop or a pause succeeds, with a note to the user.

Any other change waits for the standby for a limited time, and then raises CommitNotConfirmed.
"""

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
    """Let the current transaction commit without waiting for the standby if the request stops or pauses the rollout.

    For any other request, the transaction first commits on this server, and then waits for the standby for a limited
    time.
    """
    if request.action in _URGENT:
        commit_here()
    else:
        limit_commit()


def confirmed(result: ChangeResult, request: ChangeRequest) -> ChangeResult:
    """Return the result; set ``is_here_only`` if the change is a stop or a pause that the standby does not confirm."""
    is_over = request.action in _URGENT and not request.is_dry_run and not connection.in_atomic_block
    return replace(result, is_here_only=is_over and not is_confirmed())


def with_note(message: Message) -> Message:
    """Return the message about a stored change; add the note HERE_ONLY if the standby does not confirm the change."""
    return message if connection.in_atomic_block or is_confirmed() else join_messages([message, HERE_ONLY])


def warn_after_commit(warn: Callable[[str], object]) -> None:
    """After the current transaction's commit, call ``warn`` with HERE_ONLY if the standby does not confirm it."""
    transaction.on_commit(lambda: None if is_confirmed() else warn(str(HERE_ONLY)))


def is_confirmed() -> bool:
    """Return whether the standby confirms all commits so far within _CONFIRM_SECONDS; True if there is no standby."""
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
    """Return whether a synchronous standby is configured; True if PostgreSQL fails or does not respond.

    If none is configured, a slow commit only means that the server itself is slow.
    """
    try:
        with statement_deadline(_CONFIRM_SECONDS, grace=GRACE_SECONDS), connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('synchronous_standby_names')")
            return bool(cursor.fetchone() != ("",))
    except OperationalError:
        return True
