from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks", "0007_refused_update_types"),
    ]

    operations = [
        migrations.AlterField(
            model_name="inboxupdate",
            name="body",
            field=models.BinaryField(help_text="empty after pruning", null=True, verbose_name="body"),
        ),
        migrations.AlterField(
            model_name="inboxupdate",
            name="tries",
            field=models.SmallIntegerField(db_default=0, verbose_name="failed attempts"),
        ),
        migrations.AlterField(
            model_name="payloadaccess",
            name="inbox_update_id",
            field=models.BigIntegerField(db_index=True, verbose_name="update number"),
        ),
    ]
