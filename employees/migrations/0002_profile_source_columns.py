from typing import Any

from django.db import migrations, models

from employees import provenance
from employees.schema import Patiently


def archive(apps: Any, schema_editor: Any) -> None:
    """Refuse to go back while the rollout runs; else keep who answered for each name."""
    provenance.refuse_unless_idle()
    provenance.archive()


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0001_universities_and_employees")]

    operations = [
        Patiently(
            migrations.AddField(
                "employee",
                "profile_source",
                # A default of the database: code that does not know the column keeps inserting.
                models.CharField(
                    choices=[
                        ("webhook", "webhook"),
                        ("user_input", "named by the person"),
                        ("api", "direct API"),
                        ("manual", "entered by hand"),
                        ("default", "unknown"),
                    ],
                    db_default="manual",
                    max_length=20,
                    verbose_name="profile source",
                ),
            ),
            migrations.AddField(
                "employee",
                "profile_last_updated",
                models.DateTimeField(blank=True, null=True, verbose_name="profile last updated"),
            ),
            # Last, so that it is the first on the way back, under the lock that the columns go under.
            migrations.RunPython(migrations.RunPython.noop, archive),
        ),
    ]
