from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("webhooks", "0004_looks_at_bodies")]

    operations = [
        AddIndexConcurrently(
            model_name="inboxupdate",
            index=models.Index(
                condition=models.Q(("state__in", ["skipped", "quarantined", "dead"])),
                fields=["state", "-id"],
                name="webhook_inbox_rare",
            ),
        ),
        AddIndexConcurrently(
            model_name="inboxupdate",
            index=models.Index(
                condition=models.Q(("user_id", ""), _negated=True),
                fields=["user_id", "-id"],
                name="webhook_inbox_person",
            ),
        ),
    ]
