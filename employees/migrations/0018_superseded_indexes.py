from typing import Any

from django.db import migrations

from employees import provenance
from employees.schema import DropIndex


def refuse(apps: Any, schema_editor: Any) -> None:
    """Refuse to go back while the rollout runs, before anything is dropped: this is the first step on the way."""
    provenance.refuse_unless_idle()


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0017_ordering_indexes")]

    operations = [
        DropIndex("employee", "idx_employees_search"),
        DropIndex("employee", "idx_employees_last_name"),
        migrations.RunPython(migrations.RunPython.noop, refuse),
    ]
