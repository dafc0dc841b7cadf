"""The gates in the order of their titles' list: nothing but the choices of the admin's filter."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0016_indicator_readings")]

    operations = [
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
                    ("rehearsed", "Rehearsal of the way back"),
                    ("cohort_agreement", "Agreement of the new cohort"),
                    ("cohort_errors", "Lookups without a name"),
                    ("cohort_speed", "Speed"),
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
    ]
