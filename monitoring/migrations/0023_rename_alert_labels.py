from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0022_direct_api_alert"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="delivery",
            options={"ordering": ["pk"], "verbose_name": "alert delivery", "verbose_name_plural": "alert deliveries"},
        ),
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.CharField(
                choices=[
                    ("profile_quality_low", "profile quality"),
                    ("webhook_error_rate_high", "webhook errors"),
                    ("cache_connection_failed", "Redis does not answer"),
                    ("cache_evictions_high", "Redis evicts profiles"),
                    ("inbox_lag_high", "updates are waiting"),
                    ("dead_letters", "dead letters"),
                    ("webhook_silent", "no updates"),
                    ("subscription_lost", "subscription lost"),
                    ("subscription_wrong", "subscription differs"),
                    ("direct_api_missing", "no direct API"),
                    ("secret_failures", "wrong secrets"),
                    ("rollout_held", "rollout held"),
                    ("backfill_failed", "backfill failed"),
                ],
                max_length=40,
                verbose_name="kind",
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="words",
            field=models.JSONField(default=dict, verbose_name="message parameters"),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="tries",
            field=models.PositiveIntegerField(default=0, verbose_name="failed attempts"),
        ),
        migrations.AlterField(
            model_name="roundtrip",
            name="took_ms",
            field=models.FloatField(help_text="empty if the round trip failed", null=True, verbose_name="took, ms"),
        ),
    ]
