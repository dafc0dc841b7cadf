from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Receivers keep inserting while the index is built.
    atomic = False
    dependencies = [("webhooks", "0001_inbox")]

    operations = [
        AddIndexConcurrently(
            "inboxupdate",
            models.Index(
                condition=models.Q(("state", "pending"), _negated=True),
                fields=["received_at"],
                name="webhook_inbox_counted",
            ),
        ),
    ]
