import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Change labels only; no statement is run."""

    dependencies = [
        ("rollout", "0018_rename_force_permission"),
    ]

    operations = [
        migrations.AlterField(
            model_name="approval",
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
                    ("rehearsal", "Rollback rehearsed"),
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
        migrations.AlterField(
            model_name="approval",
            name="at",
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name="time"),
        ),
        migrations.AlterField(
            model_name="approval",
            name="decision_reason",
            field=models.CharField(blank=True, default="", max_length=500, verbose_name="reason for the decision"),
        ),
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
                    ("rehearsal", "Rollback rehearsed"),
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
        migrations.AlterField(
            model_name="change",
            name="approval_reason",
            field=models.CharField(db_default="", default="", max_length=500, verbose_name="reason for approval"),
        ),
        migrations.AlterField(
            model_name="change",
            name="at",
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name="time"),
        ),
        migrations.AlterField(
            model_name="heartbeat",
            name="revision_seen_at",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(), verbose_name="revision applied at"
            ),
        ),
        migrations.AlterField(
            model_name="heartbeat",
            name="seen_at",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(), verbose_name="last heartbeat at"
            ),
        ),
        migrations.AlterField(
            model_name="plan",
            name="state",
            field=models.CharField(
                choices=[
                    ("queued", "waiting for the previous step"),
                    ("planned", "planned"),
                    ("waiting", "waiting for approval"),
                    ("done", "done"),
                    ("dropped", "cancelled"),
                ],
                default="planned",
                max_length=10,
                verbose_name="state",
            ),
        ),
        migrations.AlterField(
            model_name="plan",
            name="waits_for_gates",
            field=models.BooleanField(db_default=False, default=False, verbose_name="wait for the gates"),
        ),
        migrations.AlterField(
            model_name="rollout",
            name="held_for",
            field=models.CharField(blank=True, default="", max_length=300, verbose_name="reason for the pause"),
        ),
        migrations.AlterField(
            model_name="rollout",
            name="on_breach",
            field=models.CharField(
                choices=[("hold", "pause the rollout"), ("roll-back", "roll back one step")],
                default="hold",
                max_length=10,
                verbose_name="on a breach",
            ),
        ),
        migrations.AlterField(
            model_name="rollout",
            name="remembered",
            field=models.JSONField(blank=True, default=dict, verbose_name="percentages before the emergency stop"),
        ),
        migrations.AlterField(
            model_name="universityrule",
            name="university_id",
            field=models.BigIntegerField(verbose_name="university ID"),
        ),
    ]
