from django.db import migrations, models

# Whoever reaches the table, by whatever tool: the audit only grows.
ONLY_GROWS = """
CREATE FUNCTION erasures_refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of the audit of erasures are never edited or deleted' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER erasures_only_grow BEFORE UPDATE OR DELETE ON erasures
    FOR EACH ROW EXECUTE FUNCTION erasures_refuse_rewriting();
"""
MAY_SHRINK = "DROP TRIGGER erasures_only_grow ON erasures; DROP FUNCTION erasures_refuse_rewriting();"


class Migration(migrations.Migration):
    dependencies = [
        ("profiles", "0003_comparisons"),
    ]

    operations = [
        migrations.CreateModel(
            name="Erasure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(auto_now_add=True, verbose_name="at")),
                ("by", models.CharField(max_length=150, verbose_name="by")),
                (
                    "reason",
                    models.CharField(help_text="kept for good: no names", max_length=500, verbose_name="reason"),
                ),
                ("person", models.CharField(max_length=64, verbose_name="hash of the MAX id")),
                ("counts", models.JSONField(default=dict, verbose_name="erased rows by table")),
            ],
            options={
                "verbose_name": "erasure",
                "verbose_name_plural": "erasures",
                "db_table": "erasures",
                "ordering": ["-pk"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("reason", ""), _negated=True), name="erasures_has_reason"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Tombstone",
            fields=[
                (
                    "key",
                    models.CharField(
                        max_length=64, primary_key=True, serialize=False, verbose_name="hash of the MAX id"
                    ),
                ),
                ("erased_at", models.DateTimeField(verbose_name="erased at")),
                ("unfinished_id", models.CharField(blank=True, default="", max_length=64)),
            ],
            options={
                "verbose_name": "tombstone",
                "verbose_name_plural": "tombstones",
                "db_table": "tombstones",
            },
        ),
        migrations.RunSQL(ONLY_GROWS, MAY_SHRINK),
    ]
