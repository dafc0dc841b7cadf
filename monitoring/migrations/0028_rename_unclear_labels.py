import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Change labels only; no statement is run."""

    dependencies = [
        ("monitoring", "0027_limits_and_samples_of_gates"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="signature",
            options={
                "ordering": ["-signed_at"],
                "permissions": [
                    ("view_audit", "Can see the audit log"),
                    ("export_employees", "Can export the employees"),
                ],
                "verbose_name": "signature",
                "verbose_name_plural": "signatures",
            },
        ),
        migrations.AlterField(
            model_name="alert",
            name="announced",
            field=models.CharField(
                blank=True,
                choices=[("warning", "warning"), ("critical", "critical")],
                default="",
                help_text="empty: not yet",
                max_length=10,
                verbose_name="severity sent",
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="data",
            field=models.JSONField(default=dict, verbose_name="values"),
        ),
        migrations.AlterField(
            model_name="alert",
            name="key",
            field=models.CharField(blank=True, default="", max_length=100, verbose_name="subject"),
        ),
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.CharField(
                choices=[
                    ("profile_quality_low", "profile quality"),
                    ("webhook_error_rate_high", "webhook errors"),
                    ("cache_connection_failed", "Redis is unavailable"),
                    ("cache_evictions_high", "Redis evicts profiles"),
                    ("database_restored", "database in an older state"),
                    ("inbox_lag_high", "updates are waiting"),
                    ("dead_letters", "dead letters"),
                    ("webhook_silent", "no updates"),
                    ("subscription_lost", "subscription lost"),
                    ("subscription_wrong", "subscription misconfigured"),
                    ("direct_api_missing", "no direct API"),
                    ("secret_failures", "wrong secrets"),
                    ("lock_held", "a lock blocks other sessions"),
                    ("rollout_held", "rollout held"),
                    ("backfill_failed", "backfill failed"),
                ],
                max_length=40,
                verbose_name="kind",
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="mute_reason",
            field=models.CharField(blank=True, default="", max_length=500, verbose_name="reason for muting"),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="state",
            field=models.CharField(
                choices=[("waiting", "waiting"), ("sent", "sent"), ("failed", "not delivered")],
                default="waiting",
                max_length=10,
                verbose_name="state",
            ),
        ),
        migrations.AlterField(
            model_name="gatecheck",
            name="at",
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name="time"),
        ),
        migrations.AlterField(
            model_name="gatecheck",
            name="gate",
            field=models.CharField(
                choices=[
                    ("migrated", "Migrations"),
                    ("index_valid", "Index of sources"),
                    ("redis_answers", "Redis"),
                    ("secret_set", "Webhook secret"),
                    ("monitoring_on", "Monitoring"),
                    ("round_trip", "Synthetic update"),
                    ("inbox_lag", "Inbox lag"),
                    ("webhook_errors", "Webhook errors"),
                    ("updates_arrive", "Updates arrive"),
                    ("few_evictions", "Evictions"),
                    ("agreement", "Agreement"),
                    ("conflicts", "Conflicts"),
                    ("universities", "Universities"),
                    ("quality", "Quality of profiles"),
                    ("no_evidence_against", "Tripwire"),
                    ("rehearsed", "Rollback rehearsal"),
                    ("cohort_agreement", "Agreement in the new cohort"),
                    ("cohort_errors", "Lookups without a name"),
                    ("cohort_speed", "Lookup speed"),
                    ("dwell", "Dwell time"),
                    ("phase3_complete", "Phase 3 complete"),
                    ("no_alert", "No open alert"),
                    ("step", "One step at a time"),
                    ("tripwire", "Tripwire"),
                ],
                max_length=30,
                verbose_name="gate",
            ),
        ),
        migrations.AlterField(
            model_name="gatecheck",
            name="n",
            field=models.BigIntegerField(null=True, verbose_name="sample size"),
        ),
        migrations.AlterField(
            model_name="roundtrip",
            name="at",
            field=models.DateTimeField(db_index=True, default=django.utils.timezone.now, verbose_name="time"),
        ),
        migrations.AlterField(
            model_name="roundtrip",
            name="took_ms",
            field=models.FloatField(help_text="empty if the round trip failed", null=True, verbose_name="duration, ms"),
        ),
        migrations.AlterField(
            model_name="sample",
            name="at",
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name="time"),
        ),
    ]
