from decimal import Decimal
from importlib import import_module

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.migrations.loader import MigrationLoader
from pytest_django.fixtures import Settings
from waffle.models import Switch

from profiles.rollout.models import Change, Flag, Rollout
from profiles.rollout.phases import EMERGENCY_STOP, PHASES, SHADOW, SWITCHES

migration = import_module("profiles.rollout.migrations.0002_phases_and_switches")
seeded = import_module("profiles.rollout.migrations.0005_seeded")

pytestmark = pytest.mark.django_db
# The models as the migrations see them: their rows are written past the rules and the audit of these days.
apps = MigrationLoader(None).project_state([("rollout", "0005_seeded")]).apps


@pytest.fixture(autouse=True)
def _empty_database() -> None:
    Flag.objects.all().delete()
    Switch.objects.all().delete()


@pytest.mark.parametrize(
    ("variable", "percents"),
    [(0, [0, 0, 0, 0]), (25, [100, 100, 25, 0]), (0.5, [100, 100, 0.5, 0]), (100, [100, 100, 100, 0])],
)
def test_the_variable_seeds_the_phases(settings: Settings, variable: float, percents: list[float]) -> None:
    settings.PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE = variable
    migration.create(apps, None)
    stored = dict(Flag.objects.values_list("name", "percent"))
    assert [stored[name] for name in PHASES] == [Decimal(str(percent)) for percent in percents]
    assert dict(Switch.objects.values_list("name", "active")) == dict.fromkeys(SWITCHES, True) | {EMERGENCY_STOP: False}


@pytest.mark.parametrize("variable", [-1, 100.5])
def test_it_refuses_what_is_no_percentage(settings: Settings, variable: float) -> None:
    settings.PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE = variable
    with pytest.raises(ImproperlyConfigured):
        migration.create(apps, None)


def test_a_second_run_changes_nothing(settings: Settings) -> None:
    settings.PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE = 25
    migration.create(apps, None)
    settings.PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE = 100
    migration.create(apps, None)
    assert Flag.objects.get(name="phase3_cache_first").percent == 25


def test_seeding_leaves_one_audit_row(settings: Settings) -> None:
    settings.PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE = 25
    migration.create(apps, None)
    Rollout.objects.all().delete()
    before = Change.objects.count()
    for _ in range(2):
        seeded.record(apps, None)
    assert Change.objects.count() == before + 1
    change = Change.objects.latest("pk")
    assert (change.by, change.action, change.reason) == (
        "migrate",
        "seed",
        "PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE=25",
    )
    assert change.after["percents"] == dict(zip(PHASES, ["100", "100", "25", "0"], strict=True))
    assert Flag.objects.get(name=SHADOW).salt == "shadow"
