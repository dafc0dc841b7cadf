"""The counts of the reports are kept beside those of the screens; the next round of counting fills them in."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0009_permission_groups")]

    operations = [migrations.DeleteModel("Census")]
