from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0026_restored_database_alert"),
    ]

    operations = [
        migrations.AddField(
            model_name="gatecheck", name="limit", field=models.FloatField(null=True, verbose_name="limit")
        ),
        migrations.AddField(
            model_name="gatecheck", name="n", field=models.BigIntegerField(null=True, verbose_name="sample")
        ),
    ]
