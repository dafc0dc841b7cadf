from django.db import migrations, models

from config.lib.migration_operations import Call, RetryOnLock
from employees import name_source_archive


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0001_universities_and_employees")]

    operations = [
        RetryOnLock(
            migrations.SeparateDatabaseAndState(
                database_operations=[
                    Call(
                        forwards=name_source_archive.add_or_restore_columns,
                        backwards=name_source_archive.archive_columns,
                    ),
                ],
                state_operations=[
                    migrations.AddField(
                        "employee",
                        "profile_source",
                        # A default of the database: code that does not know the column keeps inserting.
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
                    migrations.AddField(
                        "employee",
                        "profile_last_updated",
                        models.DateTimeField(blank=True, null=True, verbose_name="profile last updated"),
                    ),
                ],
            )
        ),
    ]
