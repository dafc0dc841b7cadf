from django.db import migrations, models

CREATE = """
CREATE FUNCTION webhook_refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of the inbox''s audit are never edited or deleted' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER webhook_raw_looks_only_grows BEFORE UPDATE OR DELETE ON webhook_raw_looks
    FOR EACH ROW EXECUTE FUNCTION webhook_refuse_rewriting();
CREATE TRIGGER webhook_replays_only_grows BEFORE UPDATE OR DELETE ON webhook_replays
    FOR EACH ROW EXECUTE FUNCTION webhook_refuse_rewriting();
"""
DROP = """
DROP TRIGGER webhook_replays_only_grows ON webhook_replays;
DROP TRIGGER webhook_raw_looks_only_grows ON webhook_raw_looks;
DROP FUNCTION webhook_refuse_rewriting();
"""


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0003_request_id")]

    operations = [
        migrations.CreateModel(
            name="RawLook",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(auto_now_add=True, verbose_name="at")),
                ("by", models.CharField(max_length=150, verbose_name="by")),
                ("inbox_update_id", models.BigIntegerField(db_index=True, verbose_name="number of the update")),
                ("update_type", models.CharField(max_length=40, verbose_name="type")),
                ("reason", models.CharField(max_length=500, verbose_name="reason")),
            ],
            options={
                "verbose_name": "look at a body",
                "verbose_name_plural": "looks at bodies",
                "db_table": "webhook_raw_looks",
                "ordering": ["-at"],
                "permissions": [("view_raw_body", "Can see the body of an update")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("reason", ""), _negated=True), name="webhook_raw_look_has_reason"
                    )
                ],
            },
        ),
        migrations.RunSQL(CREATE, DROP),
    ]
