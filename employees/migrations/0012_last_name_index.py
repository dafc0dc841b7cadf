from django.db import migrations, models

from config.lib.migration_operations import BuildIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0011_role_index")]

    operations = [
        BuildIndex("employee", models.Index(fields=["last_name", "id"], name="idx_employees_last_name")),
    ]
