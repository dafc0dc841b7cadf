from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

from config.lib.migration_operations import RetryOnLock
from employees.models import CANONICAL_MAX_ID, CANONICAL_PHONE


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0019_data_protection_officers")]

    # Rows from before are looked at by the next migration, which holds up nobody.
    operations = [
        RetryOnLock(
            AddConstraintNotValid(
                "employee", models.CheckConstraint(condition=CANONICAL_PHONE, name="employees_phone_canonical")
            ),
            AddConstraintNotValid(
                "employee", models.CheckConstraint(condition=CANONICAL_MAX_ID, name="employees_max_id_canonical")
            ),
        ),
    ]
