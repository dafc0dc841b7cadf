from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks", "0006_rename_models"),
    ]

    operations = [
        migrations.CreateModel(
            name="RefusedUpdateType",
            fields=[
                ("name", models.CharField(max_length=40, primary_key=True, serialize=False)),
            ],
            options={
                "db_table": "webhook_refused_types",
                "default_permissions": (),
            },
        ),
    ]
