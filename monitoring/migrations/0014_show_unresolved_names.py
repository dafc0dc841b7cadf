"""All groups of the admin may see for whom the direct API is asked again."""

from typing import Any

from django.db import migrations

GROUPS = ("viewer", "operator", "rollout_manager", "data_protection_officer")


def _permission(apps: Any) -> Any:
    types = apps.get_model("contenttypes", "ContentType").objects
    key = {
        "content_type": types.get_or_create(app_label="employees", model="unresolvedname")[0],
        "codename": "view_unresolvedname",
    }
    rows = apps.get_model("auth", "Permission").objects
    return rows.get_or_create(**key, defaults={"name": "Can view unresolved name"})[0]


def give(apps: Any, schema_editor: Any) -> None:
    for group in apps.get_model("auth", "Group").objects.filter(name__in=GROUPS):
        group.permissions.add(_permission(apps))


def take(apps: Any, schema_editor: Any) -> None:
    for group in apps.get_model("auth", "Group").objects.filter(name__in=GROUPS):
        group.permissions.remove(_permission(apps))


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0013_sentences"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(give, take)]
