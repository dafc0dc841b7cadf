"""Migration operations for tables in use: they block other sessions only briefly, and can be rerun if interrupted."""

import time
from collections.abc import Callable
from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import OperationalError, connections
from django.db.migrations.operations.base import Operation
from psycopg.errors import LockNotAvailable

# While one transaction waits for a table lock, all others queue behind it: give up soon, let them pass, and retry.
LOCK_TIMEOUT_MS = 100
_TRIES = 60
_PAUSE_SECONDS = 0.5


class RetryOnLock(Operation):
    """Run operations that need a table lock in one transaction, which is retried for half a minute.

    Use it in migrations with ``atomic = False``. After half a minute, the OperationalError is raised: another
    transaction keeps the table locked, and the operator has to find it.
    """

    def __init__(self, *operations: Operation) -> None:
        self.operations = operations

    def state_forwards(self, app_label: str, state: Any) -> None:
        for operation in self.operations:
            operation.state_forwards(app_label, state)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        states = self._states(app_label, from_state)
        steps = [
            (operation.database_forwards, states[number], states[number + 1])
            for number, operation in enumerate(self.operations)
        ]
        _run_with_retries(app_label, schema_editor, steps)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        states = self._states(app_label, to_state)
        steps = [
            (operation.database_backwards, states[number + 1], states[number])
            for number, operation in enumerate(self.operations)
        ]
        _run_with_retries(app_label, schema_editor, steps[::-1])

    def _states(self, app_label: str, state: Any) -> list[Any]:
        """Return the project state before the first operation and after each operation."""
        states = [state]
        for operation in self.operations:
            states.append(states[-1].clone())
            operation.state_forwards(app_label, states[-1])
        for each in states:
            # Render the models now: on first use, this would take as long as a lock may be held.
            each.apps  # noqa: B018 (a cached property)
        return states

    def describe(self) -> str:
        return "Retry on lock: " + "; ".join(operation.describe() for operation in self.operations)


def _run_with_retries(app_label: str, schema_editor: Any, steps: list[Any]) -> None:
    def run(editor: Any) -> None:
        for step, *states in steps:
            step(app_label, editor, *states)

    if schema_editor.collect_sql:
        run(schema_editor)
        return
    for attempt in range(1, _TRIES + 1):
        try:
            # Each attempt has its own schema editor, which also runs deferred statements, such as foreign keys.
            with connections[schema_editor.connection.alias].schema_editor(atomic=True) as editor:
                editor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
                run(editor)
            return
        except OperationalError as error:
            if attempt == _TRIES or not isinstance(error.__cause__, LockNotAvailable):
                raise
            time.sleep(_PAUSE_SECONDS)


class Call(Operation):
    """Call a function when migrating or reversing.

    RunPython would render models first, which is too slow while a table is locked.
    """

    reduces_to_sql = False

    def __init__(
        self, *, forwards: Callable[[], object] | None = None, backwards: Callable[[], object] | None = None
    ) -> None:
        self.forwards, self.backwards = forwards, backwards

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Leave the project state unchanged."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if self.forwards and not schema_editor.collect_sql:
            self.forwards()

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if self.backwards and not schema_editor.collect_sql:
            self.backwards()

    def describe(self) -> str:
        names = [function.__name__ for function in (self.forwards, self.backwards) if function]
        return f"Call {' or, on reversing, '.join(names)}"


class BuildIndex(AddIndexConcurrently):
    """Build an index without blocking writes, after dropping the invalid index left by an interrupted build."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        _drop_index(schema_editor, self.index.name)
        super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        # Not Django's own statement, which would fail if an interrupted reversal has already dropped the index.
        _drop_index(schema_editor, self.index.name)


class DropIndex(RemoveIndexConcurrently):
    """Drop an index without blocking writes; reversing builds it as BuildIndex does."""

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        _drop_index(schema_editor, self.name)
        super().database_backwards(app_label, schema_editor, from_state, to_state)


def _drop_index(schema_editor: Any, name: str) -> None:
    schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}")
