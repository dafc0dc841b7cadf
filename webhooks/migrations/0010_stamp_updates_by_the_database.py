from django.db import migrations, models
from django.db.models.functions import Now

from config.lib.migration_operations import RetryOnLock


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("webhooks", "0009_replays_can_be_cancelled")]

    operations = [
        RetryOnLock(
            # Without the default first: rows from before have no such time.
            migrations.AddField(
                model_name="inboxupdate",
                name="stored_at",
                field=models.DateTimeField(editable=False, null=True),
            ),
            migrations.AlterField(
                model_name="inboxupdate",
                name="stored_at",
                field=models.DateTimeField(db_default=Now(), editable=False, null=True),
            ),
        ),
    ]
