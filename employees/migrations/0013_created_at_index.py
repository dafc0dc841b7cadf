from django.db import migrations, models

from config.lib.migration_operations import BuildIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0012_last_name_index")]

    operations = [
        BuildIndex("employee", models.Index(fields=["created_at", "id"], name="idx_employees_created_at")),
    ]
