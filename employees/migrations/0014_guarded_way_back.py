from typing import Any

from django.db import migrations

from employees import provenance


def refuse(apps: Any, schema_editor: Any) -> None:
    """Refuse to go back while the rollout runs, before anything is dropped: this is the first step on the way."""
    provenance.refuse_unless_idle()


class Migration(migrations.Migration):
    # The guard asks the rollout, whose tables must outlive those of the directory on the way back.
    dependencies = [("employees", "0013_created_at_index"), ("rollout", "0005_seeded")]

    operations = [migrations.RunPython(migrations.RunPython.noop, refuse)]
