from django.db import migrations


class Migration(migrations.Migration):
    """The tables, and the codenames of the permissions that groups hold, keep their names."""

    dependencies = [("monitoring", "0018_carry_counters_over")]

    operations = [
        migrations.AlterModelTable(name="KeptFigure", table="monitoring_keptfigure"),
        migrations.RenameModel(old_name="KeptFigure", new_name="CachedStatistic"),
        migrations.AlterModelTable(name="TrafficDelta", table="monitoring_trafficdelta"),
        migrations.RenameModel(old_name="TrafficDelta", new_name="RollupDelta"),
        migrations.AlterModelTable(name="Traffic", table="monitoring_traffic"),
        migrations.RenameModel(old_name="Traffic", new_name="Rollup"),
        migrations.AlterModelOptions(
            name="cachedstatistic",
            options={
                "default_permissions": (),
                "permissions": [
                    ("view_screens", "Can see the monitoring screens"),
                    ("look_up_person", "Can look a person up"),
                ],
                "verbose_name": "cached statistic",
                "verbose_name_plural": "cached statistics",
            },
        ),
        migrations.AlterModelOptions(
            name="rollup",
            options={"default_permissions": (), "verbose_name": "rollup", "verbose_name_plural": "rollups"},
        ),
        migrations.AlterModelOptions(
            name="rollupdelta",
            options={"default_permissions": (), "verbose_name": "rollup delta", "verbose_name_plural": "rollup deltas"},
        ),
    ]
