from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import migrations

from config.lib.migration_operations import BuildIndex
from employees.models import SEARCH_TEXT


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0009_trigrams")]

    operations = [
        BuildIndex(
            "employee",
            GinIndex(OpClass(SEARCH_TEXT, name="gin_trgm_ops"), name="idx_employees_search", fastupdate=False),
        ),
        # How often a pattern occurs is judged by this sample; the default one is too small to tell rare from frequent.
        migrations.RunSQL(
            "ALTER INDEX idx_employees_search ALTER COLUMN 1 SET STATISTICS 1000", migrations.RunSQL.noop
        ),
    ]
