from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("profiles", "0011_index_unfinished_tombstones")]

    operations = [
        migrations.AddField(
            model_name="tombstone",
            name="progress",
            field=models.JSONField(db_default={}, default=dict, editable=False),
        ),
    ]
