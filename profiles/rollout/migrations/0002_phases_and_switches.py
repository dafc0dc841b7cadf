from decimal import Decimal

from django.apps.registry import Apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

SWITCHES = ("webhook_processing", "profile_cache", "monitoring", "service_employee", "service_chat")


def create(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Create the phases, seeded by PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE, and the switches, on but for the latch."""
    flag, switch = apps.get_model("rollout", "Flag"), apps.get_model("waffle", "Switch")
    percent = Decimal(str(settings.PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE))
    if not 0 <= percent <= 100:
        raise ImproperlyConfigured("PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE must be from 0 to 100")
    all_or_none = Decimal(100 if percent else 0)
    phases = {
        "phase1_infrastructure": all_or_none,
        "phase2_collection": all_or_none,
        "phase3_cache_first": percent,
        "phase4_cache_primary": Decimal(0),
    }
    for name, value in phases.items():
        flag.objects.get_or_create(name=name, defaults={"percent": value})
    for name in SWITCHES:
        switch.objects.get_or_create(name=name, defaults={"active": True})
    switch.objects.get_or_create(name="emergency_stop", defaults={"active": False})


class Migration(migrations.Migration):
    dependencies = [("rollout", "0001_flag"), ("waffle", "0004_update_everyone_nullbooleanfield")]

    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
