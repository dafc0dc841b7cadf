"""Joins the two branches of the directory's migrations, and is the first step on every way back.

One branch is the sources of names (0002, 0003), which ``rollback schema`` takes back alone; the other is everything
else (0004 and on). A new migration belongs to the second one: let it depend on the last of that branch, not on this
one, and let this one depend on it. Where this one is applied already, which forbids that, leave it as it is and join
the new migration and this one by another empty migration after it. A test tells when a step is in the wrong branch.
"""

from django.db import migrations

from config.lib.migration_operations import Call
from employees import name_source_archive


class Migration(migrations.Migration):
    # The guard asks the rollout, whose tables must outlive those of the directory on the way back.
    dependencies = [
        ("employees", "0003_profile_source_index"),
        ("employees", "0021_canonical_from_the_start"),
        ("rollout", "0005_seeded"),
    ]

    operations = [Call(backwards=name_source_archive.refuse_unless_idle)]
