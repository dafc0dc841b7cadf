from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("employees", "0026_reasons_of_backfills"),
    ]

    operations = [
        migrations.AddField(
            model_name="unresolvedname",
            name="request_id",
            field=models.CharField(blank=True, db_default="", editable=False, max_length=64),
        ),
    ]
