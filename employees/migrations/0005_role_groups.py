from typing import Any

from django.db import migrations

GROUPS = ("superadmin", "curator", "operator")


def create_groups(apps: Any, schema_editor: Any) -> None:
    group = apps.get_model("auth", "Group")
    for name in GROUPS:
        group.objects.get_or_create(name=name)


class Migration(migrations.Migration):
    dependencies = [
        ("employees", "0004_memberships"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    # Going back leaves the groups: users may be in them.
    operations = [migrations.RunPython(create_groups, migrations.RunPython.noop)]
