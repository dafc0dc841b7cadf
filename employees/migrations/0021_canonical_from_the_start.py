from typing import Any

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations

from employees import provenance


def refuse(apps: Any, schema_editor: Any) -> None:
    """Refuse to go back while the rollout runs, before anything is dropped: this is the first step on the way."""
    provenance.refuse_unless_idle()


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0020_canonical_phones_and_ids")]

    operations = [
        ValidateConstraint("employee", "employees_phone_canonical"),
        ValidateConstraint("employee", "employees_max_id_canonical"),
        migrations.RunPython(migrations.RunPython.noop, refuse),
    ]
