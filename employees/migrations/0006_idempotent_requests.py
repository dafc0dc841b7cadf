import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from config.lib.migration_operations import RetryOnLock


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("employees", "0005_role_groups"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    # RetryOnLock: a foreign key locks the table it points at while it is made.
    operations = [
        RetryOnLock(
            migrations.CreateModel(
                name="IdempotentRequest",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    ("key", models.CharField(max_length=255)),
                    ("fingerprint", models.CharField(max_length=64)),
                    ("status", models.PositiveSmallIntegerField(null=True)),
                    ("answer", models.JSONField(null=True)),
                    ("created_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                    (
                        "user",
                        models.ForeignKey(
                            editable=False, on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL
                        ),
                    ),
                ],
                options={
                    "verbose_name": "idempotent request",
                    "verbose_name_plural": "idempotent requests",
                    "db_table": "idempotent_requests",
                    "constraints": [
                        models.UniqueConstraint(fields=("user", "key"), name="idempotent_requests_key_once")
                    ],
                },
            )
        ),
    ]
