from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0014_show_unresolved_names")]

    operations = [
        migrations.AlterModelOptions(
            name="traffic",
            options={"verbose_name": "count of the traffic", "verbose_name_plural": "counts of the traffic"},
        ),
        migrations.AlterModelOptions(
            name="trafficdelta",
            options={
                "verbose_name": "change of the traffic's counts",
                "verbose_name_plural": "changes of the traffic's counts",
            },
        ),
    ]
