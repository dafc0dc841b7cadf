import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Change labels only; no statement is run."""

    dependencies = [
        ("profiles", "0013_rename_fuller_names"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="waitingcomparison",
            options={"verbose_name": "pending comparison", "verbose_name_plural": "pending comparisons"},
        ),
        migrations.AlterField(
            model_name="comparison",
            name="at",
            field=models.DateTimeField(db_index=True, default=django.utils.timezone.now, verbose_name="time"),
        ),
        migrations.AlterField(
            model_name="comparison",
            name="outcome",
            field=models.CharField(
                choices=[
                    ("agree", "agree"),
                    ("equivalent", "equivalent"),
                    ("cache_richer", "the cache has a fuller name"),
                    ("api_richer", "the direct API has a fuller name"),
                    ("conflict", "conflict"),
                    ("cache_miss", "not in the cache"),
                    ("cache_stale", "stale in the cache"),
                    ("api_error", "the direct API failed"),
                    ("cache_error", "the cache failed"),
                    ("timeout", "the direct API was too slow"),
                    ("both_empty", "no name in either source"),
                ],
                max_length=20,
                verbose_name="outcome",
            ),
        ),
        migrations.AlterField(
            model_name="comparison",
            name="pattern",
            field=models.CharField(
                blank=True,
                choices=[
                    ("script", "different alphabet"),
                    ("last_name", "different last name"),
                    ("first_name", "different first name"),
                    ("both_names", "both names differ"),
                    ("agree", "agree"),
                    ("equivalent", "equivalent"),
                    ("cache_richer", "the cache has a fuller name"),
                    ("api_richer", "the direct API has a fuller name"),
                    ("conflict", "conflict"),
                    ("cache_miss", "not in the cache"),
                    ("cache_stale", "stale in the cache"),
                    ("api_error", "the direct API failed"),
                    ("cache_error", "the cache failed"),
                    ("timeout", "the direct API was too slow"),
                    ("both_empty", "no name in either source"),
                ],
                default="",
                help_text="how the names differ; for a stale name, the outcome if it were fresh",
                max_length=20,
                verbose_name="kind of difference",
            ),
        ),
        migrations.AlterField(
            model_name="comparison",
            name="university_id",
            field=models.BigIntegerField(null=True, verbose_name="university ID"),
        ),
        migrations.AlterField(
            model_name="directanswer",
            name="asked_at",
            field=models.DateTimeField(verbose_name="requested at"),
        ),
        migrations.AlterField(
            model_name="directanswer",
            name="outcome",
            field=models.CharField(
                choices=[
                    ("asking", "request sent"),
                    ("found", "found"),
                    ("absent", "not in MAX"),
                    ("failed", "no answer"),
                ],
                max_length=10,
                verbose_name="outcome",
            ),
        ),
        migrations.AlterField(
            model_name="directanswer",
            name="user_id",
            field=models.CharField(blank=True, max_length=64, verbose_name="MAX ID"),
        ),
        migrations.AlterField(
            model_name="erasure",
            name="at",
            field=models.DateTimeField(auto_now_add=True, verbose_name="time"),
        ),
        migrations.AlterField(
            model_name="erasure",
            name="person",
            field=models.CharField(max_length=64, verbose_name="hash of the MAX ID"),
        ),
        migrations.AlterField(
            model_name="personexport",
            name="at",
            field=models.DateTimeField(auto_now_add=True, verbose_name="time"),
        ),
        migrations.AlterField(
            model_name="personexport",
            name="person",
            field=models.CharField(db_index=True, max_length=64, verbose_name="hash of the MAX ID or phone"),
        ),
        migrations.AlterField(
            model_name="phonelink",
            name="observed_at",
            field=models.DateTimeField(db_column="said_at", verbose_name="contact shared at"),
        ),
        migrations.AlterField(
            model_name="phonelink",
            name="user_id",
            field=models.CharField(db_index=True, max_length=64, verbose_name="MAX ID"),
        ),
        migrations.AlterField(
            model_name="profile",
            name="is_first_name_real",
            field=models.BooleanField(
                default=False,
                help_text="false if the name was guessed from the deprecated field “name”",
                verbose_name="first name comes from the field first_name",
            ),
        ),
        migrations.AlterField(
            model_name="profile",
            name="user_id",
            field=models.CharField(max_length=64, primary_key=True, serialize=False, verbose_name="MAX ID"),
        ),
        migrations.AlterField(
            model_name="profile",
            name="user_provided_name",
            field=models.CharField(blank=True, max_length=100, null=True, verbose_name="user-provided name"),
        ),
        migrations.AlterField(
            model_name="tombstone",
            name="key",
            field=models.CharField(max_length=64, primary_key=True, serialize=False, verbose_name="hash of the MAX ID"),
        ),
    ]
