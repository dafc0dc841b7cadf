from django.db import migrations, models

from employees.schema import BuildIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0002_profile_source_columns")]

    operations = [
        BuildIndex("employee", models.Index(fields=["profile_source"], name="idx_employees_profile_source")),
    ]
