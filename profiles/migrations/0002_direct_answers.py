from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("profiles", "0001_profile_cache"),
    ]

    operations = [
        migrations.CreateModel(
            name="DirectAnswer",
            fields=[
                ("phone", models.CharField(max_length=16, primary_key=True, serialize=False, verbose_name="phone")),
                ("asked_at", models.DateTimeField(verbose_name="asked at")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("asking", "being asked"),
                            ("found", "found"),
                            ("absent", "not in MAX"),
                            ("failed", "no answer"),
                        ],
                        max_length=10,
                        verbose_name="outcome",
                    ),
                ),
                ("user_id", models.CharField(blank=True, max_length=64, verbose_name="MAX id")),
                ("first_name", models.CharField(blank=True, max_length=100, verbose_name="first name")),
                ("last_name", models.CharField(blank=True, max_length=100, verbose_name="last name")),
            ],
            options={
                "verbose_name": "answer of the direct API",
                "verbose_name_plural": "answers of the direct API",
                "db_table": "direct_answers",
            },
        ),
        migrations.CreateModel(
            name="DirectApiPace",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("free_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "pace of the direct API",
                "verbose_name_plural": "pace of the direct API",
                "db_table": "direct_api_pace",
            },
        ),
    ]
