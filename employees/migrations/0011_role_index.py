from django.db import migrations, models

from config.lib.migration_operations import BuildIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0010_search_index")]

    operations = [
        BuildIndex("employee", models.Index(fields=["role"], name="idx_employees_role", condition=~models.Q(role=""))),
    ]
