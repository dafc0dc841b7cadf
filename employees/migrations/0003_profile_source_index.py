from django.db import migrations, models

from config.lib.migration_operations import BuildIndex, Call, RetryOnLock
from employees import name_source_archive, name_source_csv


class Migration(migrations.Migration):
    atomic = False
    # The guard asks the rollout, whose tables must outlive these columns on the way back.
    dependencies = [("employees", "0002_profile_source_columns"), ("rollout", "0005_seeded")]

    operations = [
        # Remove both with the next release: they restore what earlier releases archived to a file.
        RetryOnLock(Call(forwards=name_source_csv.drop_log)),
        Call(forwards=name_source_csv.restore),
        BuildIndex("employee", models.Index(fields=["profile_source"], name="idx_employees_profile_source")),
        Call(backwards=name_source_archive.refuse_unless_idle),
    ]
