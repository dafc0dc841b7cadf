from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("rollout", "0011_rename_scope")]

    operations = [
        migrations.AlterField(
            model_name="flag",
            name="salt",
            field=models.CharField(
                default="migration",
                help_text="flags with one salt have nested cohorts: whoever is in at 25% is in at 50%",
                max_length=50,
                verbose_name="salt",
            ),
        ),
        migrations.AlterField(
            model_name="change",
            name="action",
            field=models.CharField(
                choices=[
                    ("seed", "Seeded by the environment"),
                    ("set", "Percentage set"),
                    ("advance", "Step forward"),
                    ("schedule", "Planned step"),
                    ("roll-back", "Step back"),
                    ("switch", "Switch changed"),
                    ("pause", "Paused"),
                    ("resume", "Resumed"),
                    ("emergency", "Emergency stop"),
                    ("latch", "Emergency stop latched"),
                    ("on-breach", "Breach action changed"),
                    ("scope", "University rule changed"),
                    ("save", "Saved by code"),
                    ("flag", "Flag changed"),
                    ("delete", "Flag deleted"),
                    ("plan", "Step planned"),
                    ("cancel", "Planned step cancelled"),
                    ("rehearsal", "Rollback checked"),
                    ("schema", "Schema rolled back"),
                ],
                max_length=20,
                verbose_name="action",
            ),
        ),
    ]
