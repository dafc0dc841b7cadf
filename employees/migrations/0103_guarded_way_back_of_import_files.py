"""Joins 0024 to 0026 to the guarded way back, which releases before it have applied already, and guards it as the first step."""

from django.db import migrations

from config.lib.migration_operations import Call
from employees import name_source_archive


class Migration(migrations.Migration):
    dependencies = [
        ("employees", "0026_reasons_of_backfills"),
        ("employees", "0102_guarded_way_back_of_claims"),
    ]

    operations = [Call(backwards=name_source_archive.refuse_unless_idle)]
