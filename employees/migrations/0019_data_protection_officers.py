from typing import Any

from django.db import migrations


def create_group(apps: Any, schema_editor: Any) -> None:
    apps.get_model("auth", "Group").objects.get_or_create(name="data_protection_officer")


class Migration(migrations.Migration):
    dependencies = [
        ("employees", "0018_superseded_indexes"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    # Going back leaves the group: users may be in it.
    operations = [migrations.RunPython(create_group, migrations.RunPython.noop)]
