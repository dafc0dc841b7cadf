from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

from employees import provenance


def refuse(apps: Any, schema_editor: Any) -> None:
    """Refuse to go back while the rollout runs, before anything is dropped."""
    provenance.refuse_unless_idle()


def restore(apps: Any, schema_editor: Any) -> None:
    """Put an archive of this database back, in batches of their own, after the columns are there again."""
    provenance.restore()


class Migration(migrations.Migration):
    atomic = False
    # The guard asks the rollout, whose tables must outlive these columns on the way back.
    dependencies = [("employees", "0002_profile_source_columns"), ("rollout", "0005_seeded")]

    operations = [
        migrations.RunPython(restore, migrations.RunPython.noop),
        # An interrupted concurrent build leaves an invalid index under this name, which a re-run must remove first.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS idx_employees_profile_source", migrations.RunSQL.noop),
        AddIndexConcurrently("employee", models.Index(fields=["profile_source"], name="idx_employees_profile_source")),
        # Last, so that it is the first on the way back.
        migrations.RunPython(migrations.RunPython.noop, refuse),
    ]
