from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("profiles", "0004_tombstones_and_erasures")]

    operations = [
        migrations.AlterField(
            model_name="comparison",
            name="pattern",
            field=models.CharField(
                blank=True,
                choices=[
                    ("script", "another alphabet"),
                    ("last_name", "another last name"),
                    ("first_name", "another first name"),
                    ("both_names", "both names differ"),
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
                    ("both_empty", "nobody knows the person"),
                ],
                default="",
                help_text="how a conflict differs; for a stale name the outcome that it would have had",
                max_length=20,
                verbose_name="pattern",
            ),
        ),
    ]
