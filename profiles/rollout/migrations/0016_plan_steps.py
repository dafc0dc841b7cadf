from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("rollout", "0015_name_backfill_actions")]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="first",
            field=models.ForeignKey(
                null=True,
                on_delete=models.deletion.CASCADE,
                related_name="later",
                to="rollout.plan",
                verbose_name="first step",
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="waits_for_gates",
            field=models.BooleanField(db_default=False, default=False, verbose_name="waits for the gates"),
        ),
        migrations.AddField(
            model_name="plan",
            name="from_hour",
            field=models.PositiveSmallIntegerField(null=True, verbose_name="from hour"),
        ),
        migrations.AddField(
            model_name="plan",
            name="until_hour",
            field=models.PositiveSmallIntegerField(null=True, verbose_name="until hour"),
        ),
        migrations.AddField(
            model_name="plan",
            name="account",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="plan",
            name="state",
            field=models.CharField(
                choices=[
                    ("queued", "waits for the step before it"),
                    ("planned", "planned"),
                    ("waiting", "waits for approval"),
                    ("done", "done"),
                    ("dropped", "dropped"),
                ],
                default="planned",
                max_length=10,
                verbose_name="state",
            ),
        ),
        migrations.AlterModelOptions(
            name="plan",
            options={
                "ordering": ["due_at", "pk"],
                "verbose_name": "planned step",
                "verbose_name_plural": "planned steps",
            },
        ),
    ]
