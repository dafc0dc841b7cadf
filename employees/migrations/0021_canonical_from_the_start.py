from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0020_canonical_phones_and_ids")]

    operations = [
        ValidateConstraint("employee", "employees_phone_canonical"),
        ValidateConstraint("employee", "employees_max_id_canonical"),
    ]
