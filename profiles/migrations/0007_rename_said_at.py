from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("profiles", "0006_name_the_waiting")]

    # The column keeps its name: the previous release reads it.
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField("phonelink", "said_at", "observed_at"),
                migrations.AlterField(
                    "phonelink",
                    "observed_at",
                    models.DateTimeField(db_column="said_at", verbose_name="shared at"),
                ),
            ]
        )
    ]
