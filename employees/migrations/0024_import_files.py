import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("employees", "0023_max_id_claims")]

    operations = [
        migrations.CreateModel(
            name="ImportFile",
            fields=[
                ("name", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("data", models.BinaryField()),
                ("created_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "uploaded file",
                "verbose_name_plural": "uploaded files",
                "db_table": "import_files",
                "default_permissions": (),
            },
        ),
    ]
