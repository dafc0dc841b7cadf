from django.db import migrations


class Migration(migrations.Migration):
    """Change labels only; no statement is run."""

    dependencies = [("rollout", "0017_approvals")]

    operations = [
        migrations.AlterModelOptions(
            name="rollout",
            options={
                "permissions": [
                    ("operate_rollout", "Can advance, set, pause and resume the rollout"),
                    ("force_rollout", "Can advance the rollout even if its gates fail"),
                    ("stop_rollout", "Can stop the rollout in an emergency"),
                ],
                "verbose_name": "rollout",
                "verbose_name_plural": "rollout",
            },
        ),
    ]
