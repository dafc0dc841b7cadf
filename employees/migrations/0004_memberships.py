import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from config.lib.migration_operations import RetryOnLock


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("employees", "0001_universities_and_employees"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    # RetryOnLock: a foreign key locks the table it points at while it is made.
    operations = [
        RetryOnLock(
            migrations.CreateModel(
                name="Membership",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    (
                        "university",
                        models.ForeignKey(
                            on_delete=django.db.models.deletion.CASCADE,
                            related_name="members",
                            to="employees.university",
                            verbose_name="university",
                        ),
                    ),
                    (
                        "user",
                        models.OneToOneField(
                            on_delete=django.db.models.deletion.CASCADE,
                            to=settings.AUTH_USER_MODEL,
                            verbose_name="user",
                        ),
                    ),
                ],
                options={
                    "verbose_name": "membership",
                    "verbose_name_plural": "memberships",
                    "db_table": "memberships",
                    "ordering": ["id"],
                },
            )
        ),
    ]
