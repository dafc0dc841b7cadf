import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks", "0008_rename_inbox_labels"),
    ]

    operations = [
        migrations.AddField(
            model_name="inboxupdate", name="before_replay", field=models.JSONField(editable=False, null=True)
        ),
        migrations.AddField(
            model_name="replay", name="queued_at", field=models.DateTimeField(editable=False, null=True)
        ),
        migrations.AddField(
            model_name="replay",
            name="cancels",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="cancellations",
                to="webhooks.replay",
            ),
        ),
    ]
