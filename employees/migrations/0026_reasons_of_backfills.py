from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("employees", "0025_vouched_max_id_claims")]

    operations = [
        migrations.AddField(
            model_name="backfillrun",
            name="reason",
            field=models.CharField(blank=True, db_default="", default="", max_length=500, verbose_name="reason"),
        ),
        migrations.AddField(
            model_name="backfillrun",
            name="started_by",
            field=models.CharField(blank=True, db_default="", default="", max_length=150, verbose_name="started by"),
        ),
        migrations.AddField(
            model_name="backfillrun",
            name="rows_restored",
            field=models.BigIntegerField(db_default=0, default=0, verbose_name="names given back"),
        ),
    ]
