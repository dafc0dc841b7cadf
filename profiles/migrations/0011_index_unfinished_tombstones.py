from django.db import migrations, models

from config.lib.migration_operations import BuildIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("profiles", "0010_rename_direct_api_labels")]

    operations = [
        BuildIndex(
            model_name="tombstone",
            index=models.Index(
                condition=models.Q(("unfinished_id", ""), _negated=True),
                fields=["unfinished_id"],
                name="tombstones_unfinished",
            ),
        ),
    ]
