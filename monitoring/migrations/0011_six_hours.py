"""Six hours as a span of the counts; the first fold of a new process fills them in."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0010_one_table_of_counts"),
    ]

    operations = [
        migrations.AlterField(
            model_name="snapshot",
            name="span",
            field=models.CharField(
                choices=[
                    ("minute", "minute"),
                    ("hour", "hour"),
                    ("6hours", "six hours"),
                    ("day", "day"),
                    ("week", "week"),
                ],
                max_length=6,
                verbose_name="span",
            ),
        ),
        migrations.AlterField(
            model_name="traffic",
            name="span",
            field=models.CharField(
                choices=[
                    ("minute", "minute"),
                    ("hour", "hour"),
                    ("6hours", "six hours"),
                    ("day", "day"),
                    ("week", "week"),
                ],
                max_length=6,
            ),
        ),
    ]
