from django.db import migrations, models

from employees.schema import BuildIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0011_role_index")]

    operations = [
        BuildIndex("employee", models.Index(fields=["last_name", "id"], name="idx_employees_last_name")),
    ]
