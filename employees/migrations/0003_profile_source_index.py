from typing import Any

from django.db import migrations, models

from employees import provenance
from employees.schema import BuildIndex


def restore(apps: Any, schema_editor: Any) -> None:
    """Put an archive of this database back, in batches of their own, after the columns are there again."""
    provenance.restore()


class Migration(migrations.Migration):
    atomic = False
    # The guard asks the rollout, whose tables must outlive these columns on the way back.
    dependencies = [("employees", "0002_profile_source_columns"), ("rollout", "0005_seeded")]

    operations = [
        migrations.RunPython(restore, migrations.RunPython.noop),
        BuildIndex("employee", models.Index(fields=["profile_source"], name="idx_employees_profile_source")),
    ]
