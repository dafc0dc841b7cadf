from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("employee_history", "0001_versions"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="historicalemployee",
            options={
                "get_latest_by": ("history_date", "history_id"),
                "ordering": ("-history_date", "-history_id"),
                "verbose_name": "employee record version",
                "verbose_name_plural": "employee record versions",
            },
        ),
        migrations.AlterModelOptions(
            name="historicaluniversity",
            options={
                "get_latest_by": ("history_date", "history_id"),
                "ordering": ("-history_date", "-history_id"),
                "verbose_name": "university record version",
                "verbose_name_plural": "university record versions",
            },
        ),
    ]
