import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from config.lib.migration_operations import RetryOnLock


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("employees", "0007_unresolved_names_and_max_id_jobs"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    # RetryOnLock: a foreign key locks the table it points at while it is made.
    operations = [
        RetryOnLock(
            migrations.CreateModel(
                name="BackfillRun",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    (
                        "status",
                        models.CharField(
                            choices=[
                                ("running", "running"),
                                ("paused", "paused"),
                                ("done", "done"),
                                ("undoing", "undoing"),
                                ("undone", "undone"),
                            ],
                            default="running",
                            max_length=10,
                            verbose_name="status",
                        ),
                    ),
                    (
                        "paused_because",
                        models.CharField(blank=True, default="", max_length=200, verbose_name="paused because"),
                    ),
                    ("last_id", models.BigIntegerField(default=0, verbose_name="done up to id")),
                    ("until_id", models.BigIntegerField(verbose_name="ends at id")),
                    ("rows_total", models.BigIntegerField(default=0, verbose_name="rows to look at")),
                    ("rows_seen", models.BigIntegerField(default=0, verbose_name="rows looked at")),
                    ("rows_changed", models.BigIntegerField(default=0, verbose_name="rows changed")),
                    ("batch_size", models.PositiveIntegerField(default=1000, verbose_name="batch size")),
                    (
                        "batch_target_ms",
                        models.PositiveIntegerField(default=30, verbose_name="time target of a batch, ms"),
                    ),
                    ("pause_ms", models.PositiveIntegerField(default=20, verbose_name="pause between batches, ms")),
                    ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                    ("seen_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="last batch at")),
                    ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="finished at")),
                    (
                        "requested_by",
                        models.ForeignKey(
                            editable=False,
                            null=True,
                            on_delete=django.db.models.deletion.SET_NULL,
                            to=settings.AUTH_USER_MODEL,
                            verbose_name="requested by",
                        ),
                    ),
                    (
                        "university",
                        models.ForeignKey(
                            blank=True,
                            help_text="empty: all",
                            null=True,
                            on_delete=django.db.models.deletion.PROTECT,
                            to="employees.university",
                            verbose_name="university",
                        ),
                    ),
                ],
                options={
                    "verbose_name": "backfill",
                    "verbose_name_plural": "backfills",
                    "db_table": "backfill_runs",
                    "ordering": ["-id"],
                    "constraints": [
                        models.UniqueConstraint(
                            models.Value(1),
                            condition=models.Q(("status__in", ["running", "paused", "undoing"])),
                            name="backfill_runs_one_at_a_time",
                        )
                    ],
                },
            ),
            migrations.CreateModel(
                name="BackfillBatch",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    (
                        "status",
                        models.CharField(
                            choices=[("done", "done"), ("failed", "failed"), ("undone", "undone")],
                            default="done",
                            max_length=10,
                            verbose_name="status",
                        ),
                    ),
                    ("after_id", models.BigIntegerField(verbose_name="after id")),
                    ("until_id", models.BigIntegerField(verbose_name="until id")),
                    ("rows_seen", models.PositiveIntegerField(default=0, verbose_name="rows looked at")),
                    ("rows_changed", models.PositiveIntegerField(default=0, verbose_name="rows changed")),
                    ("duration_ms", models.PositiveIntegerField(default=0, verbose_name="duration, ms")),
                    ("error", models.CharField(blank=True, default="", max_length=200, verbose_name="error")),
                    ("changes", models.JSONField(default=list, verbose_name="changes")),
                    ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                    (
                        "run",
                        models.ForeignKey(
                            on_delete=django.db.models.deletion.CASCADE,
                            related_name="batches",
                            to="employees.backfillrun",
                            verbose_name="backfill",
                        ),
                    ),
                ],
                options={
                    "verbose_name": "batch",
                    "verbose_name_plural": "batches",
                    "db_table": "backfill_batches",
                    "ordering": ["id"],
                    "constraints": [
                        models.UniqueConstraint(fields=("run", "after_id"), name="backfill_batches_range_once")
                    ],
                },
            ),
        ),
    ]
