from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("rollout", "0014_rename_salt_help")]

    operations = [
        migrations.AlterField(
            model_name="change",
            name="action",
            field=models.CharField(
                choices=[
                    ("seed", "Seeded by the environment"),
                    ("set", "Percentage set"),
                    ("advance", "Step forward"),
                    ("schedule", "Planned step"),
                    ("roll-back", "Step back"),
                    ("switch", "Switch changed"),
                    ("pause", "Paused"),
                    ("resume", "Resumed"),
                    ("emergency", "Emergency stop"),
                    ("latch", "Emergency stop latched"),
                    ("on-breach", "Breach action changed"),
                    ("scope", "University rule changed"),
                    ("save", "Saved by code"),
                    ("flag", "Flag changed"),
                    ("delete", "Flag deleted"),
                    ("plan", "Step planned"),
                    ("cancel", "Planned step cancelled"),
                    ("rehearsal", "Rollback checked"),
                    ("schema", "Schema rolled back"),
                    ("backfill-pause", "Backfill paused"),
                    ("backfill-resume", "Backfill resumed"),
                    ("backfill-retry", "Failed backfill batches retried"),
                    ("backfill-undo", "Backfill undone"),
                ],
                max_length=20,
                verbose_name="action",
            ),
        ),
    ]
