import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("employees", "0022_backfills_that_replace_names")]

    operations = [
        migrations.CreateModel(
            name="MaxIdClaim",
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
                ("max_id", models.CharField(max_length=64, verbose_name="MAX id")),
            ],
            options={
                "verbose_name": "claimed MAX id",
                "verbose_name_plural": "claimed MAX ids",
                "db_table": "max_id_claims",
            },
        ),
    ]
