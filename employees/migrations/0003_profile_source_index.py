from django.db import migrations, models

from config.lib.migration_operations import BuildIndex, Call, Patiently
from employees import provenance


class Migration(migrations.Migration):
    atomic = False
    # The guard asks the rollout, whose tables must outlive these columns on the way back.
    dependencies = [("employees", "0002_profile_source_columns"), ("rollout", "0005_seeded")]

    operations = [
        # Of a way back that was broken off before the columns went.
        Patiently(Call(forwards=provenance.stop_log)),
        Call(forwards=provenance.restore),
        BuildIndex("employee", models.Index(fields=["profile_source"], name="idx_employees_profile_source")),
        Call(backwards=provenance.refuse_unless_idle),
    ]
