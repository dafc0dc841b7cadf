"""One table of what each round measured of every indicator; alerts, gates, pages and metrics read it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0015_name_the_counts")]

    operations = [
        migrations.CreateModel(
            name="IndicatorReading",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("round_at", models.DateTimeField()),
                ("measured_at", models.DateTimeField()),
                ("name", models.CharField(max_length=40)),
                ("value", models.FloatField(null=True)),
                ("n", models.BigIntegerField(null=True)),
                (
                    "level",
                    models.CharField(
                        choices=[
                            ("ok", "Ok"),
                            ("warning", "Warning"),
                            ("critical", "Critical"),
                            ("unknown", "Unknown"),
                            ("error", "Error"),
                        ],
                        max_length=8,
                    ),
                ),
                ("warning_limit", models.FloatField(null=True)),
                ("critical_limit", models.FloatField(null=True)),
                ("data", models.JSONField(default=dict)),
                ("message", models.JSONField()),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=["name", "round_at"], name="monitoring_reading_once_a_round")
                ],
            },
        ),
    ]
