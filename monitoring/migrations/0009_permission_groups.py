"""The groups of the admin: who looks, who operates, who moves the rollout, who answers for personal data.

The permissions are created here where Django has not yet done it: it creates them only after the last migration.
"""

from typing import Any

from django.db import migrations

# "app.model": the codenames; a verb alone stands for Django's own permission of the model.
Permissions = dict[str, tuple[str, ...]]

VIEWER: Permissions = {
    "employees.employee": ("view",),
    "employees.university": ("view",),
    "employees.backfillrun": ("view",),
    "employees.backfillbatch": ("view",),
    "employees.maxidjob": ("view",),
    "webhooks.inboxupdate": ("view",),
    "webhooks.repeat": ("view",),
    "profiles.profile": ("view",),
    "profiles.comparison": ("view",),
    "rollout.flag": ("view",),
    "rollout.rollout": ("view",),
    "rollout.change": ("view",),
    "rollout.plan": ("view",),
    "rollout.scope": ("view",),
    "rollout.heartbeat": ("view",),
    "waffle.switch": ("view",),
    "monitoring.gatecheck": ("view",),
    "monitoring.roundtrip": ("view",),
    "monitoring.signature": ("view",),
    "monitoring.alert": ("view",),
    "monitoring.delivery": ("view",),
    "monitoring.keptfigure": ("view_screens",),
}
OPERATOR: Permissions = {
    "employees.employee": ("add", "change"),
    "employees.university": ("add", "change"),
    "employees.backfillrun": ("add", "change", "delete"),
    "webhooks.replay": ("view", "add"),
    "monitoring.alert": ("change",),
    "monitoring.keptfigure": ("look_up_person",),
    "monitoring.signature": ("view_audit", "export_employees"),
    "rollout.rollout": ("stop_rollout",),
}
ROLLOUT_MANAGER: Permissions = {
    "employees.backfillrun": ("add", "change", "delete"),
    "webhooks.replay": ("view", "add"),
    "monitoring.alert": ("change",),
    "monitoring.keptfigure": ("look_up_person",),
    "monitoring.signature": ("add", "view_audit"),
    "rollout.flag": ("change",),
    "rollout.scope": ("add", "change", "delete"),
    "rollout.rollout": ("operate_rollout", "force_rollout", "stop_rollout"),
    "waffle.switch": ("change",),
}
DATA_PROTECTION_OFFICER: Permissions = {
    "webhooks.replay": ("view",),
    "webhooks.rawlook": ("view", "view_raw_body"),
    "profiles.profile": ("delete",),
    "profiles.phonelink": ("view", "delete"),
    "profiles.erasure": ("view",),
    "profiles.tombstone": ("view",),
    "monitoring.keptfigure": ("look_up_person",),
    "monitoring.signature": ("view_audit", "export_employees"),
}
GROUPS: dict[str, Permissions] = {
    "viewer": {},
    "operator": OPERATOR,
    "rollout_manager": ROLLOUT_MANAGER,
    "data_protection_officer": DATA_PROTECTION_OFFICER,
}


def _given(apps: Any, permissions: Permissions) -> list[Any]:
    types = apps.get_model("contenttypes", "ContentType").objects
    rows = apps.get_model("auth", "Permission").objects
    given = []
    for label, codenames in permissions.items():
        app, model = label.split(".")
        content_type = types.get_or_create(app_label=app, model=model)[0]
        for codename in codenames:
            full = codename if "_" in codename else f"{codename}_{model}"
            name = f"Can {full.replace('_', ' ')}"
            given.append(rows.get_or_create(content_type=content_type, codename=full, defaults={"name": name})[0])
    return given


def create_groups(apps: Any, schema_editor: Any) -> None:
    groups = apps.get_model("auth", "Group").objects
    for name, permissions in GROUPS.items():
        group = groups.get_or_create(name=name)[0]
        group.permissions.add(*_given(apps, VIEWER), *_given(apps, permissions))


def take_permissions(apps: Any, schema_editor: Any) -> None:
    """Going back takes the permissions and leaves the groups: users may be in them."""
    groups = apps.get_model("auth", "Group").objects
    for name, permissions in GROUPS.items():
        for group in groups.filter(name=name):
            group.permissions.remove(*_given(apps, VIEWER), *_given(apps, permissions))


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0008_audit_and_export_permissions"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(create_groups, take_permissions)]
