"""Migration operations for a table that is in use: nobody waits long, and what was interrupted is repaired."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import OperationalError, connections
from django.db.migrations.operations.base import Operation
from psycopg.errors import LockNotAvailable

# While a lock is waited for, everybody else queues behind: give up early, let them pass, come back.
LOCK_TIMEOUT_MS = 100
_TRIES = 60
_REST_SECONDS = 0.5


def _nothing() -> None:
    pass


class RetryOnLock(Operation):
    """Run operations that need a table's lock in one transaction, again and again until the lock is to be had.

    For migrations with ``atomic = False``. After half a minute the OperationalError is the operator's: something holds
    the table for good.
    """

    def __init__(self, *operations: Operation) -> None:
        self.operations = operations

    def state_forwards(self, app_label: str, state: Any) -> None:
        for operation in self.operations:
            operation.state_forwards(app_label, state)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        steps, state = [], from_state
        for operation in self.operations:
            before, state = state, state.clone()
            operation.state_forwards(app_label, state)
            steps.append((operation.database_forwards, before, state))
        _insist(schema_editor, app_label, steps)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        states = [to_state]
        for operation in self.operations:
            states.append(states[-1].clone())
            operation.state_forwards(app_label, states[-1])
        steps = [
            (operation.database_backwards, states[number + 1], states[number])
            for number, operation in reversed(list(enumerate(self.operations)))
        ]
        _insist(schema_editor, app_label, steps)

    def describe(self) -> str:
        return "Without holding up others: " + "; ".join(operation.describe() for operation in self.operations)


def _insist(schema_editor: Any, app_label: str, steps: list[Any]) -> None:
    if schema_editor.collect_sql:
        _run(schema_editor, app_label, steps)
        return
    for _, *states in steps:
        for state in states:
            # Made on first use, which takes as long as a lock may be held.
            state.apps  # noqa: B018 (a property that works)
    for attempt in range(1, _TRIES + 1):
        try:
            # An editor of its own: deferred statements, such as foreign keys, belong to the same try.
            with connections[schema_editor.connection.alias].schema_editor(atomic=True) as editor:
                editor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
                _run(editor, app_label, steps)
            return
        except OperationalError as error:
            if attempt == _TRIES or not isinstance(error.__cause__, LockNotAvailable):
                raise
            time.sleep(_REST_SECONDS)


def _run(editor: Any, app_label: str, steps: list[Any]) -> None:
    for step, from_state, to_state in steps:
        step(app_label, editor, from_state, to_state)


class Call(Operation):
    """Call a function on the way there or back. RunPython would make models first, too slowly to do it under a lock."""

    reduces_to_sql = False

    def __init__(
        self, *, forwards: Callable[[], object] = _nothing, backwards: Callable[[], object] = _nothing
    ) -> None:
        self.forwards, self.backwards = forwards, backwards

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Change no model."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if not schema_editor.collect_sql:
            self.forwards()

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if not schema_editor.collect_sql:
            self.backwards()

    def describe(self) -> str:
        names = [way.__name__ for way in (self.forwards, self.backwards) if way is not _nothing]
        return f"Call {' or, on the way back, '.join(names)}"


class BuildIndex(AddIndexConcurrently):
    """Build an index while others write; an invalid one that an interrupted build left under its name goes first."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        _drop_index(schema_editor, self.index.name)
        super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        # Without the model's help: a way back that was interrupted has dropped it already.
        _drop_index(schema_editor, self.index.name)


class DropIndex(RemoveIndexConcurrently):
    """Drop an index while others write; on the way back it is built as BuildIndex does."""

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        _drop_index(schema_editor, self.name)
        super().database_backwards(app_label, schema_editor, from_state, to_state)


def _drop_index(schema_editor: Any, name: str) -> None:
    schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}")
