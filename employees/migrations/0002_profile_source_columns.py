from django.db import migrations, models

from config.lib.migration_operations import Call, Patiently
from employees import provenance


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("employees", "0001_universities_and_employees")]

    # On the way back, from the last to the first: it is refused while the rollout runs, what is written is logged, everything is archived while others write,
    # and what they wrote meanwhile is added under the lock that the columns go under.
    operations = [
        Patiently(
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
            Call(backwards=provenance.finish_archive),
        ),
        Call(backwards=provenance.archive),
        Patiently(Call(backwards=provenance.log_writes)),
        Call(backwards=provenance.refuse_unless_idle),
    ]
