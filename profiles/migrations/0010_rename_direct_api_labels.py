from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("profiles", "0009_person_exports"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="directanswer",
            options={"verbose_name": "direct API response", "verbose_name_plural": "direct API responses"},
        ),
        migrations.AlterModelOptions(
            name="directapipace",
            options={"verbose_name": "direct API request rate", "verbose_name_plural": "direct API request rate"},
        ),
    ]
