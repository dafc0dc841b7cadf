from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0002_profile_source_columns")]

    operations = [
        # An interrupted concurrent build leaves an invalid index under this name, which a re-run must remove first.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS idx_employees_profile_source", migrations.RunSQL.noop),
        AddIndexConcurrently("employee", models.Index(fields=["profile_source"], name="idx_employees_profile_source")),
    ]
