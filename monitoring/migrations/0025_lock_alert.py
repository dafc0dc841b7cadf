from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0024_leave_probes_out_of_the_counts"),
    ]

    operations = [
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
                    ("lock_held", "a lock blocks others"),
                    ("rollout_held", "rollout held"),
                    ("backfill_failed", "backfill failed"),
                ],
                max_length=40,
                verbose_name="kind",
            ),
        ),
    ]
