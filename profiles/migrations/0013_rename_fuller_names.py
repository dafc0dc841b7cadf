from django.db import migrations, models

_OUTCOMES = [
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
    ("both_empty", "unknown to both"),
]
_PATTERNS = [
    ("script", "another alphabet"),
    ("last_name", "another last name"),
    ("first_name", "another first name"),
    ("both_names", "both names differ"),
]


class Migration(migrations.Migration):
    """Change labels only; no statement is run."""

    dependencies = [("profiles", "0012_remember_progress_of_erasures")]

    operations = [
        migrations.AlterField(
            model_name="comparison",
            name="outcome",
            field=models.CharField(choices=_OUTCOMES, max_length=20, verbose_name="outcome"),
        ),
        migrations.AlterField(
            model_name="comparison",
            name="pattern",
            field=models.CharField(
                blank=True,
                choices=[*_PATTERNS, *_OUTCOMES],
                default="",
                help_text="how the names differ; for a stale name, the outcome if it were fresh",
                max_length=20,
                verbose_name="pattern",
            ),
        ),
        migrations.AlterField(
            model_name="profile",
            name="is_first_name_real",
            field=models.BooleanField(
                default=False,
                help_text="false when it was guessed from the deprecated field “name”",
                verbose_name="first name comes from the field first_name",
            ),
        ),
    ]
