from django.db import migrations, models

from config.lib.migration_operations import RetryOnLock


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("credentials", "0002_revoke_log_ins")]

    operations = [
        RetryOnLock(
            migrations.AddField(
                model_name="login",
                name="has_second_factor",
                field=models.BooleanField(db_default=False, default=False),
            )
        )
    ]
