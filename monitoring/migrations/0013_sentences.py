"""What a gate said, for readers of any language; without a default, because code that does not know it inserts too."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0012_name_the_choices")]

    operations = [
        migrations.AddField(
            model_name="gatecheck",
            name="sentence",
            field=models.JSONField(editable=False, null=True),
        ),
    ]
