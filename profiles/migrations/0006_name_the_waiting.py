from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("profiles", "0005_name_the_patterns")]

    operations = [
        migrations.AlterModelOptions(
            name="waitingcomparison",
            options={"verbose_name": "waiting comparison", "verbose_name_plural": "waiting comparisons"},
        ),
    ]
