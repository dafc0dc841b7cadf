"""What code gave for a reason, for readers of any language; null where code does not know the column, or people wrote."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("rollout", "0007_name_the_choices")]

    operations = [
        migrations.AddField(
            model_name="change",
            name="sentence",
            field=models.JSONField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="plan",
            name="sentence",
            field=models.JSONField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="rollout",
            name="held_sentence",
            field=models.JSONField(editable=False, null=True),
        ),
    ]
