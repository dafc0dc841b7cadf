from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("employee_history", "0002_rename_version_labels")]

    operations = [
        migrations.CreateModel(
            name="FormerMaxIdClaim",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("employee_id", models.BigIntegerField(verbose_name="employee")),
                ("max_id", models.CharField(max_length=64, verbose_name="MAX id")),
            ],
            options={
                "verbose_name": "former claim of a MAX id",
                "verbose_name_plural": "former claims of MAX ids",
                "db_table": "former_max_id_claims",
                "constraints": [
                    models.UniqueConstraint(fields=("max_id", "employee_id"), name="former_max_id_claims_unique")
                ],
            },
        ),
    ]
