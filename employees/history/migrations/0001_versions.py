import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    # The first one alone: on the directory's way back the history stays.
    dependencies = [
        ("employees", "0001_universities_and_employees"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoricalEmployee",
            fields=[
                ("id", models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name="ID")),
                ("phone", models.CharField(max_length=16, verbose_name="phone")),
                ("first_name", models.CharField(default="Неизвестно", max_length=100, verbose_name="first name")),
                (
                    "last_name",
                    models.CharField(blank=True, default="Неизвестно", max_length=100, verbose_name="last name"),
                ),
                ("middle_name", models.CharField(blank=True, default="", max_length=100, verbose_name="middle name")),
                ("max_id", models.CharField(blank=True, max_length=64, null=True, verbose_name="MAX id")),
                ("max_id_updated_at", models.DateTimeField(blank=True, null=True, verbose_name="MAX id updated at")),
                (
                    "role",
                    models.CharField(
                        blank=True,
                        choices=[("curator", "curator"), ("operator", "operator")],
                        default="",
                        max_length=20,
                        verbose_name="role",
                    ),
                ),
                (
                    "profile_source",
                    models.CharField(
                        choices=[
                            ("webhook", "webhook"),
                            ("user_input", "named by the person"),
                            ("api", "direct API"),
                            ("manual", "entered by hand"),
                            ("default", "unknown"),
                        ],
                        db_default="manual",
                        max_length=20,
                        verbose_name="profile source",
                    ),
                ),
                (
                    "profile_last_updated",
                    models.DateTimeField(blank=True, null=True, verbose_name="profile last updated"),
                ),
                ("created_at", models.DateTimeField(blank=True, editable=False, verbose_name="created at")),
                ("updated_at", models.DateTimeField(blank=True, editable=False, verbose_name="updated at")),
                ("history_id", models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField(db_index=True)),
                ("history_change_reason", models.CharField(max_length=100, null=True)),
                (
                    "history_type",
                    models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1),
                ),
                (
                    "history_user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "university",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="employees.university",
                        verbose_name="university",
                    ),
                ),
            ],
            options={
                "verbose_name": "version of an employee",
                "verbose_name_plural": "versions of employees",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="HistoricalUniversity",
            fields=[
                ("id", models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name="ID")),
                ("name", models.CharField(max_length=500, verbose_name="name")),
                ("inn", models.CharField(blank=True, default="", max_length=12, verbose_name="INN")),
                ("kpp", models.CharField(blank=True, default="", max_length=9, verbose_name="KPP")),
                ("created_at", models.DateTimeField(blank=True, editable=False, verbose_name="created at")),
                ("updated_at", models.DateTimeField(blank=True, editable=False, verbose_name="updated at")),
                ("history_id", models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField(db_index=True)),
                ("history_change_reason", models.CharField(max_length=100, null=True)),
                (
                    "history_type",
                    models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1),
                ),
                (
                    "history_user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "version of a university",
                "verbose_name_plural": "versions of universities",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
    ]
