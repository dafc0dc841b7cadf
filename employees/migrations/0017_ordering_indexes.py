from django.db import migrations, models

from config.lib.migration_operations import BuildIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0016_scoped_search_index")]

    operations = [
        BuildIndex(
            "employee", models.Index(fields=["last_name", "first_name", "id"], name="idx_employees_by_last_name")
        ),
        BuildIndex(
            "employee", models.Index(fields=["university", "created_at", "id"], name="idx_employees_univ_created")
        ),
    ]
