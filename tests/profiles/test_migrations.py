"""Indexes of the profiles are built while the tables are in use, and again after an interruption."""

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_interrupted_index_is_rebuilt() -> None:
    """PostgreSQL keeps an invalid index of a build that was interrupted."""
    loader = MigrationLoader(connection)
    before = loader.project_state([("profiles", "0010_rename_direct_api_labels")])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'tombstones_unfinished'::regclass")
        with connection.schema_editor(atomic=False) as editor:
            loader.get_migration("profiles", "0011_index_unfinished_tombstones").apply(before, editor)
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'tombstones_unfinished'::regclass")
        assert cursor.fetchall() == [(True,)]
