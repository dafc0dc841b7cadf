from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("rollout", "0013_flags_behave_as_waffles"),
    ]

    operations = [
        migrations.AlterField(
            model_name="flag",
            name="salt",
            field=models.CharField(
                default="migration",
                help_text="flags with the same salt have nested cohorts: whoever is included at 25% is also included at 50%",
                max_length=50,
                verbose_name="salt",
            ),
        ),
    ]
