from django.db import migrations, models


class Migration(migrations.Migration):
    """Change labels only; no statement is run."""

    dependencies = [
        ("webhooks", "0010_stamp_updates_by_the_database"),
    ]

    operations = [
        migrations.AlterField(
            model_name="duplicatedelivery",
            name="is_conflict",
            field=models.BooleanField(db_default=False, verbose_name="with different content"),
        ),
        migrations.AlterField(
            model_name="inboxupdate",
            name="has_names",
            field=models.BooleanField(db_default=False, verbose_name="contains names"),
        ),
        migrations.AlterField(
            model_name="inboxupdate",
            name="request_id",
            field=models.CharField(blank=True, db_default="", max_length=64, verbose_name="request ID"),
        ),
        migrations.AlterField(
            model_name="inboxupdate",
            name="user_id",
            field=models.CharField(blank=True, db_default="", max_length=64, verbose_name="MAX ID"),
        ),
        migrations.AlterField(
            model_name="payloadaccess",
            name="at",
            field=models.DateTimeField(auto_now_add=True, verbose_name="time"),
        ),
        migrations.AlterField(
            model_name="replay",
            name="at",
            field=models.DateTimeField(auto_now_add=True, verbose_name="time"),
        ),
    ]
