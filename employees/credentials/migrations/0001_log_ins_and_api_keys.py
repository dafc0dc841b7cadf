import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import employees.credentials.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("employees", "0001_universities_and_employees"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="LogIn",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=employees.credentials.models.new_id,
                        editable=False,
                        max_length=32,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("session_key", models.CharField(blank=True, default="", max_length=40)),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField(db_index=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="log_ins", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "db_table": "log_ins",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(help_text="The service that uses the key.", max_length=60, verbose_name="name"),
                ),
                ("prefix", models.CharField(editable=False, max_length=12, verbose_name="begins with")),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created at"),
                ),
                (
                    "expires_at",
                    models.DateTimeField(
                        validators=[django.core.validators.MinValueValidator(django.utils.timezone.now)],
                        verbose_name="expires at",
                    ),
                ),
                ("revoked_at", models.DateTimeField(editable=False, null=True, verbose_name="revoked at")),
                ("last_used_at", models.DateTimeField(editable=False, null=True, verbose_name="last used at")),
                (
                    "owner",
                    models.ForeignKey(
                        help_text="The key never has more rights than its owner, and ends when the owner is deactivated.",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="api_keys",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
                (
                    "permissions",
                    models.ManyToManyField(related_name="+", to="auth.permission", verbose_name="permissions"),
                ),
                (
                    "university",
                    models.ForeignKey(
                        blank=True,
                        help_text="Limits the key to the people of one university.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        to="employees.university",
                        verbose_name="university",
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "verbose_name_plural": "API keys",
                "db_table": "api_keys",
                "ordering": ["-pk"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("revoked_at", None)),
                        fields=("name",),
                        name="api_keys_name_unique",
                        violation_error_message="A key with this name exists. Revoke it first, or choose another name.",
                    )
                ],
            },
        ),
    ]
