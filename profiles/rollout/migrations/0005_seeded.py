from django.apps.registry import Apps
from django.conf import settings
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

PHASES = ("phase1_infrastructure", "phase2_collection", "phase3_cache_first", "phase4_cache_primary")


def record(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Leave the first audit row, revision 1: what the variable seeded; and create the flag of the comparison."""
    flag = apps.get_model("rollout", "Flag")
    flag.objects.get_or_create(name="shadow_comparison", defaults={"percent": 100, "salt": "shadow"})
    if apps.get_model("rollout", "Rollout").objects.exists():
        return
    percents = dict(flag.objects.filter(name__in=PHASES).values_list("name", "percent"))
    apps.get_model("rollout", "Rollout").objects.create(pk=1, revision=1)
    apps.get_model("rollout", "Change").objects.create(
        by="migrate",
        action="seed",
        reason=f"PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE={settings.PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE:g}",
        revision=1,
        after={"percents": {name: f"{percent.normalize():f}" for name, percent in percents.items()}},
    )


class Migration(migrations.Migration):
    dependencies = [("rollout", "0004_audit_and_latch_triggers")]

    operations = [migrations.RunPython(record, migrations.RunPython.noop)]
