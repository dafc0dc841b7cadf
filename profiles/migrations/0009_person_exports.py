from django.db import migrations, models

# As for erasures: whatever tool writes to the table, the audit only grows.
ONLY_GROWS = """
CREATE FUNCTION person_exports_refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of the audit of exports are never edited or deleted' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER person_exports_only_grow BEFORE UPDATE OR DELETE ON person_exports
    FOR EACH ROW EXECUTE FUNCTION person_exports_refuse_rewriting();
"""
MAY_SHRINK = """
DROP TRIGGER person_exports_only_grow ON person_exports; DROP FUNCTION person_exports_refuse_rewriting();
"""


class Migration(migrations.Migration):
    dependencies = [("profiles", "0008_rename_labels")]

    operations = [
        migrations.CreateModel(
            name="PersonExport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(auto_now_add=True, verbose_name="at")),
                ("by", models.CharField(max_length=150, verbose_name="by")),
                (
                    "person",
                    models.CharField(db_index=True, max_length=64, verbose_name="hash of the MAX id or phone"),
                ),
                ("counts", models.JSONField(default=dict, verbose_name="exported rows by table")),
            ],
            options={
                "verbose_name": "export of a person's data",
                "verbose_name_plural": "exports of people's data",
                "db_table": "person_exports",
                "ordering": ["-pk"],
            },
        ),
        migrations.RunSQL(ONLY_GROWS, MAY_SHRINK),
    ]
