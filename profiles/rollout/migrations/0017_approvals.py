from django.db import migrations, models
from django.db.models import F, Q
from django.utils import timezone

import profiles.rollout.models

ACTIONS = [
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
]
STATES = [
    ("waiting", "waiting"),
    ("approved", "approved"),
    ("refused", "refused"),
    ("withdrawn", "withdrawn"),
    ("expired", "expired"),
]


class Migration(migrations.Migration):
    dependencies = [("rollout", "0016_plan_steps")]

    operations = [
        migrations.AddField(
            model_name="change",
            name="approved_by",
            field=models.CharField(db_default="", default="", max_length=150, verbose_name="approved by"),
        ),
        migrations.AddField(
            model_name="change",
            name="approval_reason",
            field=models.CharField(db_default="", default="", max_length=500, verbose_name="reason of the approval"),
        ),
        migrations.CreateModel(
            name="Approval",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(default=timezone.now, verbose_name="at")),
                ("by", models.CharField(max_length=150, verbose_name="by")),
                ("action", models.CharField(choices=ACTIONS, max_length=20, verbose_name="action")),
                ("reason", models.CharField(max_length=500, verbose_name="reason")),
                ("sentence", models.JSONField(editable=False, null=True)),
                ("revision", models.BigIntegerField(db_index=True, verbose_name="revision")),
                ("before", models.JSONField(default=dict, verbose_name="from")),
                ("after", models.JSONField(default=dict, verbose_name="to")),
                ("evidence", models.JSONField(default=list, verbose_name="evidence")),
                ("is_forced", models.BooleanField(default=False, verbose_name="forced")),
                ("account", models.BigIntegerField(editable=False, null=True)),
                ("request", models.JSONField(editable=False)),
                (
                    "expires_at",
                    models.DateTimeField(default=profiles.rollout.models.approval_end, verbose_name="expires at"),
                ),
                (
                    "state",
                    models.CharField(choices=STATES, default="waiting", max_length=10, verbose_name="state"),
                ),
                ("decided_by", models.CharField(blank=True, default="", max_length=150, verbose_name="decided by")),
                ("decided_at", models.DateTimeField(null=True, verbose_name="decided at")),
                (
                    "decision_reason",
                    models.CharField(blank=True, default="", max_length=500, verbose_name="reason of the decision"),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        null=True,
                        on_delete=models.deletion.SET_NULL,
                        related_name="approvals",
                        to="rollout.plan",
                    ),
                ),
            ],
            options={
                "verbose_name": "request for approval",
                "verbose_name_plural": "requests for approval",
                "ordering": ["-pk"],
                "default_permissions": (),
                "abstract": False,
                "constraints": [
                    models.CheckConstraint(condition=~Q(reason=""), name="rollout_approval_has_reason"),
                    models.CheckConstraint(
                        condition=~Q(state="approved", decided_by=F("by")), name="rollout_approval_by_another"
                    ),
                ],
            },
        ),
    ]
