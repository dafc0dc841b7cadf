"""Joins 0028 to the guarded way back, which releases before it have applied already, and guards it as the first step."""

from django.db import migrations

from config.lib.migration_operations import Call
from employees import name_source_archive


class Migration(migrations.Migration):
    dependencies = [
        ("employees", "0028_rename_unclear_labels"),
        ("employees", "0104_guarded_way_back_of_requests"),
    ]

    operations = [Call(backwards=name_source_archive.refuse_unless_idle)]
