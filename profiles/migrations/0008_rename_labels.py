from django.db import migrations, models

_OUTCOMES = [
    ("agree", "agree"),
    ("equivalent", "equivalent"),
    ("cache_richer", "the cache knows more"),
    ("api_richer", "the direct API knows more"),
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
_SOURCES = [
    ("webhook", "webhook"),
    ("user_input", "named by the person"),
    ("api", "direct API"),
    ("manual", "entered by hand"),
    ("default", "unknown"),
]


class Migration(migrations.Migration):
    dependencies = [("profiles", "0007_rename_said_at")]

    operations = [
        migrations.AlterField(
            model_name="erasure",
            name="reason",
            field=models.CharField(
                help_text="stored permanently: do not include names", max_length=500, verbose_name="reason"
            ),
        ),
        migrations.AlterField(
            model_name="comparison",
            name="api_name",
            field=models.CharField(
                blank=True, default="", max_length=40, verbose_name="name from the direct API, masked"
            ),
        ),
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
            model_name="comparison",
            name="served_ms",
            field=models.FloatField(verbose_name="response time, ms"),
        ),
        migrations.AlterField(
            model_name="comparison",
            name="served_source",
            field=models.CharField(choices=_SOURCES, max_length=20, verbose_name="name source"),
        ),
    ]
