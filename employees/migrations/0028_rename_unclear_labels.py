from django.db import migrations, models


class Migration(migrations.Migration):
    """Change labels only; no statement is run."""

    dependencies = [
        ("employees", "0027_requests_of_unresolved_names"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="maxidclaim",
            options={"verbose_name": "manually entered MAX ID", "verbose_name_plural": "manually entered MAX IDs"},
        ),
        migrations.AlterModelOptions(
            name="maxidjob",
            options={"ordering": ["-id"], "verbose_name": "MAX ID search", "verbose_name_plural": "MAX ID searches"},
        ),
        migrations.AlterField(
            model_name="backfillbatch",
            name="after_id",
            field=models.BigIntegerField(verbose_name="after ID"),
        ),
        migrations.AlterField(
            model_name="backfillbatch",
            name="rows_seen",
            field=models.PositiveIntegerField(default=0, verbose_name="rows checked"),
        ),
        migrations.AlterField(
            model_name="backfillbatch",
            name="until_id",
            field=models.BigIntegerField(verbose_name="until ID"),
        ),
        migrations.AlterField(
            model_name="backfillrun",
            name="batch_target_ms",
            field=models.PositiveIntegerField(default=30, verbose_name="target batch duration, ms"),
        ),
        migrations.AlterField(
            model_name="backfillrun",
            name="last_id",
            field=models.BigIntegerField(default=0, verbose_name="processed up to ID"),
        ),
        migrations.AlterField(
            model_name="backfillrun",
            name="rows_restored",
            field=models.BigIntegerField(db_default=0, default=0, verbose_name="names restored"),
        ),
        migrations.AlterField(
            model_name="backfillrun",
            name="rows_seen",
            field=models.BigIntegerField(default=0, verbose_name="rows checked"),
        ),
        migrations.AlterField(
            model_name="backfillrun",
            name="rows_total",
            field=models.BigIntegerField(default=0, verbose_name="rows to check"),
        ),
        migrations.AlterField(
            model_name="backfillrun",
            name="until_id",
            field=models.BigIntegerField(verbose_name="ends at ID"),
        ),
        migrations.AlterField(
            model_name="employee",
            name="max_id",
            field=models.CharField(blank=True, max_length=64, null=True, verbose_name="MAX ID"),
        ),
        migrations.AlterField(
            model_name="employee",
            name="max_id_updated_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="MAX ID updated at"),
        ),
        migrations.AlterField(
            model_name="maxidclaim",
            name="max_id",
            field=models.CharField(max_length=64, verbose_name="MAX ID"),
        ),
    ]
