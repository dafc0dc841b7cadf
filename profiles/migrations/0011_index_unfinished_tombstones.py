from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("profiles", "0010_rename_direct_api_labels")]

    operations = [
        AddIndexConcurrently(
            model_name="tombstone",
            index=models.Index(
                condition=models.Q(("unfinished_id", ""), _negated=True),
                fields=["unfinished_id"],
                name="tombstones_unfinished",
            ),
        ),
    ]
