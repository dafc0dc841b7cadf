from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0002_counted_index")]

    operations = [
        migrations.AddField(
            model_name="inboxupdate",
            name="request_id",
            field=models.CharField(blank=True, db_default="", max_length=64, verbose_name="request id"),
        ),
    ]
