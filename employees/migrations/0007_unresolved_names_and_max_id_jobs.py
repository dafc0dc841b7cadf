import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from config.lib.migration_operations import RetryOnLock


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("employees", "0006_idempotent_requests"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    # RetryOnLock: a foreign key locks the table it points at while it is made.
    operations = [
        RetryOnLock(
            migrations.CreateModel(
                name="UnresolvedName",
                fields=[
                    (
                        "employee",
                        models.OneToOneField(
                            on_delete=django.db.models.deletion.CASCADE,
                            primary_key=True,
                            serialize=False,
                            to="employees.employee",
                            verbose_name="employee",
                        ),
                    ),
                    ("attempts", models.PositiveIntegerField(default=0, verbose_name="attempts")),
                    ("next_try_at", models.DateTimeField(db_index=True, verbose_name="next try at")),
                ],
                options={
                    "verbose_name": "unresolved name",
                    "verbose_name_plural": "unresolved names",
                    "db_table": "unresolved_names",
                },
            ),
            migrations.CreateModel(
                name="MaxIdJob",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    (
                        "status",
                        models.CharField(
                            choices=[
                                ("pending", "pending"),
                                ("running", "running"),
                                ("done", "done"),
                                ("failed", "failed"),
                            ],
                            default="pending",
                            max_length=10,
                            verbose_name="status",
                        ),
                    ),
                    ("total", models.PositiveIntegerField(default=0, verbose_name="total")),
                    ("done", models.PositiveIntegerField(default=0, verbose_name="found")),
                    ("failed", models.PositiveIntegerField(default=0, verbose_name="not found")),
                    ("last_id", models.BigIntegerField(default=0)),
                    ("outages", models.PositiveIntegerField(default=0, verbose_name="outages in a row")),
                    ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                    (
                        "next_try_at",
                        models.DateTimeField(default=django.utils.timezone.now, verbose_name="next try at"),
                    ),
                    ("finished_at", models.DateTimeField(null=True, verbose_name="finished at")),
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
                ],
                options={
                    "verbose_name": "search for MAX ids",
                    "verbose_name_plural": "searches for MAX ids",
                    "db_table": "max_id_jobs",
                    "ordering": ["-id"],
                    "constraints": [
                        models.UniqueConstraint(
                            models.Value(1),
                            condition=models.Q(("finished_at__isnull", True)),
                            name="max_id_jobs_one_at_a_time",
                        )
                    ],
                },
            ),
        ),
    ]
