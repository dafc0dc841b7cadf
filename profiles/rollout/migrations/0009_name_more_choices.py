from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("rollout", "0008_sentences")]

    operations = [
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
                    ("switch", "Switch turned"),
                    ("pause", "Paused"),
                    ("resume", "Resumed"),
                    ("emergency", "Emergency stop"),
                    ("latch", "Emergency stop latched"),
                    ("on-breach", "On a breach"),
                    ("scope", "Rule for a university"),
                    ("save", "Saved by code"),
                    ("flag", "Flag changed"),
                    ("delete", "Flag deleted"),
                    ("plan", "Step planned"),
                    ("cancel", "Planned step cancelled"),
                    ("rehearsal", "The way back was rehearsed"),
                    ("schema", "Schema taken back"),
                ],
                max_length=20,
                verbose_name="action",
            ),
        ),
    ]
