from django.db import migrations

from config.lib.migration_operations import DropIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0017_ordering_indexes")]

    operations = [
        DropIndex("employee", "idx_employees_search"),
        DropIndex("employee", "idx_employees_last_name"),
    ]
